package portico.tool_test

import data.portico.asked_test as asked
import data.portico.tool

decided(role, effects, risk) := decision if {
	action := {"tool": "time", "effects": effects, "risk": risk, "params_hash": "0f"}
	decision := tool.decision with input as asked.by(action, {"actor": {"role": role}})
}

everything := {[effects, risk] |
	some effects in ["none", "read", "write"]
	some risk in ["low", "medium", "high"]
}

test_incomplete_input_is_denied_by_default if {
	whole := asked.by({"tool": "time", "effects": "none", "risk": "low", "params_hash": "0f"}, {})
	own := ["/action/tool", "/action/effects", "/action/risk", "/action/params_hash"]
	tool.decision.effect == "allow" with input as whole
	every path in array.concat(asked.shared_fields, own) {
		every broken in asked.damaged(whole, path) {
			tool.decision == asked.nothing with input as broken
		}
	}
}

test_auditors_devices_and_unknown_roles_run_nothing if {
	every role in ["auditor", "device", "emperor", ""] {
		every pair in everything {
			decided(role, pair[0], pair[1]).effect == "deny"
		}
	}
}

test_visitors_run_only_what_touches_nothing if {
	every role in ["guest", "customer"] {
		every pair in everything - {["none", "low"]} {
			decided(role, pair[0], pair[1]).effect == "deny"
		}
		decided(role, "none", "low").effect == "allow"
	}
}

test_high_risk_is_denied_to_members_and_services if {
	every role in ["member", "service"] {
		every effects in ["none", "read", "write"] {
			decision := decided(role, effects, "high")
			decision.effect == "deny"
			decision.reasons == ["a high risk, for owner and admins only"]
		}
	}
}

test_high_risk_asks_owner_and_admin if {
	every role in ["owner", "admin"] {
		every effects in ["none", "read", "write"] {
			decided(role, effects, "high").effect == "ask"
		}
	}
}

test_writing_or_medium_risk_asks if {
	every role in ["owner", "admin", "member", "service"] {
		every pair in [["write", "low"], ["write", "medium"], ["none", "medium"], ["read", "medium"]] {
			decided(role, pair[0], pair[1]).effect == "ask"
		}
	}
}

test_low_risk_reading_is_allowed if {
	every role in ["owner", "admin", "member", "service"] {
		decided(role, "none", "low").effect == "allow"
		decided(role, "read", "low").effect == "allow"
	}
}

test_own_rules_narrow if {
	decided("owner", "none", "low").effect == "deny" with data.portico.user.tool.deny as {"not this tool"}
	decided("owner", "none", "low").effect == "ask" with data.portico.user.tool.ask as {"mine"}
}

test_own_ask_does_not_open_a_denied_tool if {
	decided("member", "write", "high").effect == "deny" with data.portico.user.tool.ask as {"mine"}
}

writing := {"tool": "keep", "effects": "write", "risk": "low", "params_hash": "0f", "content_hash": "c1"}

approval(who, action, by) := object.union(
	asked.by(action, {"actor": who}),
	{"context": {"approved_by": object.union({"params_hash": "0f", "content_hash": "c1"}, by)}},
)

agreed(who, action, by) := decision if {
	decision := tool.decision with input as approval(who, action, by)
}

member := {"id": "p1", "role": "member"}

test_an_approval_of_other_parameters_counts_for_nothing if {
	every other in [{"params_hash": "10"}, {"content_hash": "c2"}, {"params_hash": ""}] {
		agreed(member, writing, object.union({"id": "p9", "role": "owner"}, other)).effect == "ask"
	}
}

test_an_approval_by_somebody_who_may_not_counts_for_nothing if {
	every role in ["member", "guest", "customer", "service", "auditor", ""] {
		agreed(member, writing, {"id": "p2", "role": role}).effect == "ask"
	}
}

test_owner_and_admin_approve if {
	every role in ["owner", "admin"] {
		decision := agreed(member, writing, {"id": "p9", "role": role})
		decision.effect == "allow"
		decision.reasons == ["somebody who may has agreed to exactly this"]
	}
}

test_an_approval_does_not_lift_a_deny if {
	high := object.union(writing, {"risk": "high"})
	agreed(member, high, {"id": "p9", "role": "owner"}).effect == "deny"
	agreed({"id": "p9", "role": "owner"}, high, {"id": "p9", "role": "owner"}).effect == "allow"
	every role in ["guest", "customer", "device", "auditor"] {
		agreed({"id": "p1", "role": role}, writing, {"id": "p9", "role": "owner"}).effect == "deny"
	}
}

test_who_asked_confirms_what_is_of_low_risk if {
	agreed(member, writing, member).effect == "allow"
	agreed(member, object.union(writing, {"risk": "medium"}), member).effect == "ask"
	agreed({"id": "", "role": "member"}, writing, {"id": "", "role": "member"}).effect == "ask"
}

test_an_ask_says_whether_who_asked_may_answer if {
	low := tool.decision with input as asked.by(writing, {"actor": member})
	low.obligations == [{"kind": "self_approval"}]
	medium := tool.decision with input as asked.by(object.union(writing, {"risk": "medium"}), {"actor": member})
	medium.obligations == []
	own := tool.decision with input as asked.by(object.union(writing, {"risk": "medium"}), {"actor": {"role": "owner"}})
	own.obligations == [{"kind": "self_approval"}]
}

test_a_rule_of_the_owner_that_asks_is_settled_by_an_approver_alone if {
	reading := object.union(writing, {"effects": "read"})
	rule := {"a rule of mine"}
	first := tool.decision with input as asked.by(reading, {"actor": member}) with data.portico.user.tool.ask as rule
	first.effect == "ask"
	first.obligations == []
	by_owner := tool.decision with input as approval(member, reading, {"id": "p9", "role": "owner"})
		with data.portico.user.tool.ask as rule
	by_owner.effect == "allow"
	by_self := tool.decision with input as approval(member, reading, member)
		with data.portico.user.tool.ask as rule
	by_self.effect == "ask"
}

test_hosts_that_the_settings_name_come_with_an_allow if {
	reading := {"tool": "get", "effects": "read", "risk": "low", "params_hash": "0f", "hosts": ["b.example", "a.example"]}
	decision := tool.decision with input as asked.by(reading, {"actor": member})
	decision.obligations == [{"kind": "network", "hosts": ["a.example", "b.example"]}]
	alone := tool.decision with input as asked.by(object.union(reading, {"hosts": []}), {"actor": member})
	alone.obligations == []
	visitor := tool.decision with input as asked.by(object.union(reading, {"effects": "none"}), {"actor": {"role": "guest"}})
	visitor.obligations == []
}
