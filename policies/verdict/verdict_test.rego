package portico.verdict_test

import data.portico.verdict

shipped(changes) := object.union({"allow": set(), "deny": set(), "ask": set(), "obligations": set()}, changes)

test_nothing_said_is_left_to_the_default if {
	not verdict.of(shipped({}), {})
}

test_deny_wins_over_ask_and_allow if {
	decision := verdict.of(shipped({"allow": {"a"}, "ask": {"b"}, "deny": {"c"}, "obligations": {{"kind": "ignore"}}}), {})
	decision == {"effect": "deny", "reasons": ["c"], "obligations": [{"kind": "ignore"}]}
}

test_ask_wins_over_allow if {
	verdict.of(shipped({"allow": {"a"}, "ask": {"b"}}), {}).effect == "ask"
	verdict.of(shipped({"ask": {"b"}}), {}).reasons == ["b"]
}

test_allow_gives_its_reasons_in_order if {
	verdict.of(shipped({"allow": {"b", "a"}}), {}) == {"effect": "allow", "reasons": ["a", "b"], "obligations": []}
}

test_own_deny_wins_and_drops_obligations if {
	decision := verdict.of(shipped({"deny": {"c"}, "obligations": {{"kind": "offer_pairing"}}}), {"deny": {"mine"}})
	decision == {"effect": "deny", "reasons": ["mine"], "obligations": []}
	verdict.of(shipped({"allow": {"a"}}), {"deny": {"mine"}}).effect == "deny"
}

test_own_ask_narrows_an_allow if {
	verdict.of(shipped({"allow": {"a"}}), {"ask": {"mine"}}) == {"effect": "ask", "reasons": ["mine"], "obligations": []}
}

test_own_ask_cannot_widen if {
	not verdict.of(shipped({}), {"ask": {"mine"}})
	verdict.of(shipped({"deny": {"c"}}), {"ask": {"mine"}}).effect == "deny"
}

test_own_allow_is_not_looked_at if {
	not verdict.of(shipped({}), {"allow": {"mine"}})
	verdict.of(shipped({"deny": {"c"}}), {"allow": {"mine"}, "deny": set()}).effect == "deny"
}

test_own_rules_of_another_shape_are_heard if {
	every said in [true, "why", {"why"}, ["why"], {"a": "why"}, [1], {null}, 7, null] {
		verdict.of(shipped({"allow": {"a"}}), {"deny": said}).effect == "deny"
	}
}

test_own_rules_that_say_nothing_change_nothing if {
	every silent in [false, set(), [], {}] {
		verdict.of(shipped({"allow": {"a"}}), {"deny": silent, "ask": silent}).effect == "allow"
	}
}

test_a_reason_that_is_no_sentence_is_replaced if {
	verdict.of(shipped({"allow": {"a"}}), {"deny": true}).reasons == ["a rule of your own, which gives no reason"]
}
