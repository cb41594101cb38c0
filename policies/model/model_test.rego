package portico.model_test

import data.portico.asked_test as asked
import data.portico.model

local_route := {
	"route": "main",
	"locality": "local",
	"owner_allowed": false,
	"purpose": "answer",
	"intent": "out_of_scope",
	"input_cost_per_mtok": 0,
	"output_cost_per_mtok": 0,
	"cost_per_day": 0,
	"cost_today": 0,
	"person_cost_today": 0,
}

decided(action, changes) := decision if {
	decision := model.decision with input as asked.by(object.union(local_route, action), changes)
}

first(decision) := decision.obligations[0].rank

cloud := {"locality": "cloud"}

shareable := {"conversation": {"data_class": "shareable"}}

test_incomplete_input_is_denied_by_default if {
	whole := asked.by(object.union(local_route, {"locality": "cloud", "owner_allowed": true}), {})
	paths := array.concat(asked.shared_fields, [concat("", ["/action/", field]) | some field, _ in local_route])
	model.decision.effect == "allow" with input as whole
	every path in paths {
		every broken in asked.damaged(whole, path) {
			model.decision == asked.nothing with input as broken
		}
	}
}

test_local_content_never_goes_to_a_cloud_route if {
	decision := decided(cloud, {})
	decision.effect == "deny"
	decision.reasons == ["content of a local conversation stays on this machine"]
}

test_an_unknown_data_class_is_kept_at_home if {
	decided(cloud, {"conversation": {"data_class": "Shareable"}}).effect == "deny"
}

test_local_mode_forbids_the_cloud_even_if_released if {
	local_only := {"context": {"local_only": true}}
	every changes in [local_only, object.union(local_only, shareable)] {
		every owner_allowed in [true, false] {
			decision := decided({"locality": "cloud", "owner_allowed": owner_allowed}, changes)
			decision.effect == "deny"
			"local mode: nothing leaves this machine" in decision.reasons
		}
	}
}

test_an_unknown_locality_is_denied if {
	decided({"locality": "elsewhere", "owner_allowed": true}, shareable) == asked.nothing
}

test_an_auditor_causes_no_content_to_be_sent if {
	decided({}, {"actor": {"role": "auditor"}}) == asked.nothing
}

test_a_local_route_may_see_local_content if {
	decided({}, {}).reasons == ["the model runs on this machine"]
	decided({}, {"context": {"local_only": true}}).effect == "allow"
	decided({}, {"actor": {"role": "customer", "paired": false}}).effect == "allow"
}

test_the_owner_releases_a_conversation if {
	decided({"locality": "cloud", "owner_allowed": true}, {}).reasons == ["the owner released this conversation"]
}

test_shareable_content_may_leave if {
	decided(cloud, shareable).reasons == ["the content may leave the machine"]
}

test_own_rules_narrow if {
	decided({}, {}).effect == "deny" with data.portico.user.model.deny as {"no models today"}
	decided({}, {}).effect == "ask" with data.portico.user.model.ask as {"mine"}
}

test_a_route_whose_budget_is_used_up_is_denied if {
	budget := {"cost_per_day": 2, "cost_today": 2}
	decided(budget, {}).reasons == ["what this route may cost a day is used up"]
	decided(object.union(budget, {"cost_today": 1.99}), {}).effect == "allow"
	decided({"cost_today": 100}, {}).effect == "allow"
}

test_a_cost_below_nothing_is_denied if {
	decided({"cost_today": -1}, {}) == asked.nothing
}

test_this_machine_comes_before_the_cloud if {
	first(decided({}, {})) < first(decided(cloud, shareable))
}

test_only_allowed_routes_are_ranked if {
	decided(cloud, {}).obligations == []
}

test_own_rules_rank if {
	first(decided({}, {})) == 3 with data.portico.user.model.rank as 3
	first(decided({}, {})) == 1 with data.portico.user.model.rank as {5, 1}
	first(decided({}, {})) == 10 with data.portico.user.model.rank as "first"
	first(decided({}, {})) == 10 with data.portico.user.model.rank as {"first"}
	decided(cloud, {}).effect == "deny" with data.portico.user.model.rank as 1
}
