package portico.egress_test

import data.portico.asked_test as asked
import data.portico.egress

home := {
	"kind": "reply",
	"channel": "telegram",
	"account": "default",
	"conversation": "conversation-1",
	"admit": "paired",
}

decided(action, changes) := decision if {
	decision := egress.decision with input as asked.by(object.union(home, action), changes)
}

stranger := {"actor": {"role": "guest", "paired": false}}

group := {"channel": {"group": true}}

test_incomplete_input_is_denied_by_default if {
	whole := asked.by(home, {})
	own := ["/action/kind", "/action/channel", "/action/account", "/action/conversation", "/action/admit"]
	egress.decision.effect == "allow" with input as whole
	every path in array.concat(asked.shared_fields, own) {
		every broken in asked.damaged(whole, path) {
			egress.decision == asked.nothing with input as broken
		}
	}
}

test_another_conversation_is_denied_whoever_asks if {
	every elsewhere in [{"conversation": "conversation-2"}, {"channel": "slack"}, {"account": "other"}] {
		every kind in ["reply", "notice", "pairing"] {
			every role in ["owner", "service", "guest"] {
				decision := decided(object.union(elsewhere, {"kind": kind}), {"actor": {"role": role}})
				decision == {"effect": "deny", "reasons": ["not the conversation that asked"], "obligations": []}
			}
		}
	}
}

test_a_stranger_gets_no_reply if {
	decided({}, stranger) == asked.nothing
	decided({"kind": "notice"}, stranger) == asked.nothing
	decided({"admit": "anyone"}, object.union(stranger, group)) == asked.nothing
}

test_a_pairing_notice_never_goes_to_a_group if {
	decided({"kind": "pairing"}, object.union(stranger, group)) == asked.nothing
}

test_a_pairing_notice_tells_who_has_just_paired if {
	decided({"kind": "pairing"}, {"actor": {"role": "owner"}}).effect == "allow"
	decided({"kind": "pairing"}, group) == asked.nothing
	decided({"kind": "pairing"}, {"actor": {"role": "auditor"}}) == asked.nothing
}

test_an_auditor_gets_no_reply if {
	decided({"admit": "anyone"}, {"actor": {"role": "auditor"}}) == asked.nothing
}

test_the_conversation_that_asked_gets_its_answer if {
	decided({}, {}).effect == "allow"
	decided({"kind": "notice"}, group).effect == "allow"
	decided({}, {"actor": {"role": "owner", "paired": false}}).effect == "allow"
}

test_a_guest_gets_an_answer_where_anyone_is_admitted if {
	decided({"admit": "anyone"}, stranger).effect == "allow"
}

test_a_stranger_gets_a_pairing_notice if {
	decided({"kind": "pairing"}, stranger).reasons == ["a pairing notice in a private chat"]
}

callback := {"kind": "callback", "host": "hooks.example.com", "port": 443, "named": false}

posted(action, changes) := decision if {
	decision := egress.decision with input as asked.by(object.union(callback, action), changes)
}

test_an_incomplete_callback_is_denied_by_default if {
	whole := asked.by(callback, {})
	own := ["/action/kind", "/action/host", "/action/port", "/action/named"]
	egress.decision.effect == "allow" with input as whole
	every path in array.concat(asked.shared_fields, own) {
		every broken in asked.damaged(whole, path) {
			egress.decision == asked.nothing with input as broken
		}
	}
}

test_a_stranger_s_result_is_posted_nowhere if {
	posted({}, stranger) == asked.nothing
	posted({"named": true}, stranger) == asked.nothing
	posted({"named": true}, {"actor": {"role": "auditor"}}) == asked.nothing
}

test_in_local_mode_only_named_hosts_get_results if {
	local := {"context": {"local_only": true}}
	reason := "local_only: results are posted only to hosts that the settings name"
	posted({}, local) == {"effect": "deny", "reasons": [reason], "obligations": []}
	posted({}, object.union(local, {"actor": {"role": "owner"}})).effect == "deny"
	posted({"named": true}, local).reasons == ["a callback to a host that the settings name"]
}

test_a_result_may_go_into_the_public_internet if {
	posted({}, {}).reasons == ["a callback into the public internet"]
	posted({}, {"actor": {"role": "service"}}).effect == "allow"
}

test_own_rules_narrow_callbacks if {
	posted({}, {}).effect == "deny" with data.portico.user.egress.deny as {"not there"}
}

test_own_rules_narrow if {
	decided({}, {}).effect == "deny" with data.portico.user.egress.deny as {"quiet hours"}
	decided({}, {}).effect == "ask" with data.portico.user.egress.ask as {"mine"}
}
