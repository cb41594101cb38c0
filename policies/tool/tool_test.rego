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
