package portico.inbound_test

import data.portico.asked_test as asked
import data.portico.inbound

decided(action, changes) := decision if {
	whole := {"kind": "text", "admit": "paired", "addressed": true}
	decision := inbound.decision with input as asked.by(object.union(whole, action), changes)
}

group := {"channel": {"group": true}}

stranger := {"actor": {"role": "guest", "paired": false}}

test_incomplete_input_is_denied_by_default if {
	whole := asked.by({"kind": "text", "admit": "paired", "addressed": true}, {})
	paths := array.concat(asked.shared_fields, ["/action/kind", "/action/admit", "/action/addressed"])
	inbound.decision.effect == "allow" with input as whole
	every path in paths {
		every broken in asked.damaged(whole, path) {
			inbound.decision == asked.nothing with input as broken
		}
	}
}

test_no_input_is_denied if {
	inbound.decision == asked.nothing with input as {}
	inbound.decision == asked.nothing with input as null
}

test_unpaired_sender_is_offered_pairing_and_nothing_else if {
	every role in ["guest", "customer", "device"] {
		decision := decided({}, {"actor": {"role": role, "paired": false}})
		decision == {
			"effect": "deny",
			"reasons": ["the sender is not paired"],
			"obligations": [{"kind": "offer_pairing"}],
		}
	}
}

test_unpaired_sender_in_a_group_gets_nothing_at_all if {
	every admit in ["paired", "anyone"] {
		every addressed in [true, false] {
			decision := decided({"admit": admit, "addressed": addressed}, object.union(stranger, group))
			decision.effect == "deny"
			decision.obligations == [{"kind": "ignore"}]
		}
	}
}

test_paired_person_in_a_group_is_ignored_unless_addressed if {
	decided({"addressed": true}, group).effect == "allow"
	decision := decided({"addressed": false}, group)
	decision.effect == "deny"
	decision.obligations == [{"kind": "ignore"}]
}

test_the_owner_too_is_ignored_in_a_group_unless_addressed if {
	decided({"addressed": false}, object.union(group, {"actor": {"role": "owner"}})).effect == "deny"
}

test_pairing_in_a_group_is_denied if {
	decided({"kind": "pair"}, object.union(stranger, group)).obligations == [{"kind": "ignore"}]
	decided({"kind": "pair"}, group).effect == "deny"
}

test_auditor_and_unknown_role_are_denied_without_an_offer if {
	every role in ["auditor", "emperor", ""] {
		every admit in ["paired", "anyone"] {
			decided({"admit": admit}, {"actor": {"role": role, "paired": true}}) == asked.nothing
			decided({"kind": "pair", "admit": admit}, {"actor": {"role": role, "paired": false}}) == asked.nothing
		}
	}
}

test_known_people_may_talk if {
	every role in ["owner", "admin", "member", "service"] {
		decided({}, {"actor": {"role": role, "paired": false}}).effect == "allow"
	}
}

test_paired_people_may_talk if {
	every role in ["guest", "customer", "device"] {
		decided({}, {"actor": {"role": role, "paired": true}}).reasons == ["the sender is known here"]
	}
}

test_an_account_may_admit_anyone if {
	decided({"admit": "anyone"}, stranger) == {
		"effect": "allow",
		"reasons": ["the account admits anyone"],
		"obligations": [],
	}
}

test_a_pairing_attempt_reaches_the_pairing_step if {
	decided({"kind": "pair"}, stranger).reasons == ["a pairing attempt"]
}

test_own_rule_denies_the_owner if {
	decision := decided({}, {"actor": {"role": "owner"}}) with data.portico.user.inbound.deny as {"not at night"}
	decision == {"effect": "deny", "reasons": ["not at night"], "obligations": []}
}

test_own_deny_stops_the_pairing_offer if {
	decision := decided({}, stranger) with data.portico.user.inbound.deny as {"blocked"}
	decision.obligations == []
}

test_own_rule_cannot_let_a_stranger_in if {
	decision := decided({}, stranger) with data.portico.user.inbound as {"allow": {"mine"}, "deny": set(), "ask": {"mine"}}
	decision.effect == "deny"
}

test_own_ask_narrows if {
	decision := decided({}, {}) with data.portico.user.inbound.ask as {"mine"}
	decision.effect == "ask"
}
