# METADATA
# title: Who may ask OPA what
# description: |
#   OPA's own door (`--authorization=basic`). The bearer of the token may ask the gate and read OPA's own
#   numbers, and nothing else; anybody on this machine may see whether OPA lives. Nothing is ever written
#   through the API: rules and data come from the bundle. The bundle holds the token's hash only.
package system.authz

default allow := false

allow if {
	input.method == "GET"
	input.path == ["health"]
}

allow if {
	input.method == "GET"
	input.path == ["metrics"]
	crypto.sha256(input.identity) in data.system.door.token_sha256
}

allow if {
	input.method == "POST"
	count(input.path) == 6
	array.slice(input.path, 0, 5) == ["v1", "data", "system", "gate", "answers"]
	crypto.sha256(input.identity) in data.system.door.token_sha256
}
