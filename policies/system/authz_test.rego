package system.authz_test

import data.system.authz

door := {"token_sha256": [crypto.sha256("right")]}

gate := ["v1", "data", "system", "gate", "answers", "inbound"]

allowed(request) if {
	authz.allow with input as request with data.system.door as door
}

test_no_token_is_refused if {
	not allowed({"method": "POST", "path": gate})
	not allowed({"method": "POST", "path": gate, "identity": ""})
	not allowed({"method": "POST", "path": gate, "identity": null})
}

test_a_wrong_token_is_refused if {
	not allowed({"method": "POST", "path": gate, "identity": "wrong"})
	not allowed({"method": "POST", "path": gate, "identity": door.token_sha256[0]})
}

test_without_a_door_nobody_enters if {
	not authz.allow with input as {"method": "POST", "path": gate, "identity": "right"}
}

test_the_token_writes_nothing if {
	every method in ["PUT", "PATCH", "DELETE", "GET", "HEAD"] {
		not allowed({"method": method, "path": gate, "identity": "right"})
		not allowed({"method": method, "path": ["v1", "policies", "x"], "identity": "right"})
		not allowed({"method": method, "path": ["v1", "data", "x"], "identity": "right"})
	}
}

test_the_token_reads_nothing_else if {
	every path in [
		["v1", "data"],
		["v1", "data", "system", "door"],
		["v1", "data", "system", "gate", "answers"],
		["v1", "data", "system", "gate", "answers", "inbound", "decision"],
		["v1", "query"],
		["v1", "compile"],
		["v1", "config"],
		["v0", "data", "system", "gate", "answers", "inbound"],
		[],
		[""],
		["metrics"],
	] {
		not allowed({"method": "POST", "path": path, "identity": "right"})
	}
}

test_the_token_asks_the_gate if {
	allowed({"method": "POST", "path": gate, "identity": "right"})
}

test_health_is_open if {
	allowed({"method": "GET", "path": ["health"]})
	not allowed({"method": "POST", "path": ["health"]})
}

test_the_token_reads_the_numbers if {
	allowed({"method": "GET", "path": ["metrics"], "identity": "right"})
	not allowed({"method": "GET", "path": ["metrics"], "identity": "wrong"})
	not allowed({"method": "GET", "path": ["metrics"]})
	not allowed({"method": "GET", "path": ["metrics", "x"], "identity": "right"})
}
