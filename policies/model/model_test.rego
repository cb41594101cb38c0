package portico.model_test

import data.portico.asked_test as asked
import data.portico.model

decided(action, changes) := decision if {
	whole := {"route": "main", "locality": "local", "owner_allowed": false}
	decision := model.decision with input as asked.by(object.union(whole, action), changes)
}

cloud := {"locality": "cloud"}

shareable := {"conversation": {"data_class": "shareable"}}

test_incomplete_input_is_denied_by_default if {
	whole := asked.by({"route": "main", "locality": "cloud", "owner_allowed": true}, {})
	paths := array.concat(asked.shared_fields, ["/action/route", "/action/locality", "/action/owner_allowed"])
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
