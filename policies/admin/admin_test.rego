package portico.admin_test

import data.portico.admin
import data.portico.asked_test as asked

decided(role, action) := decision if {
	whole := {"operation": "dead_letter.drop", "role": "", "subject": "letter-1"}
	decision := admin.decision with input as asked.by(object.union(whole, action), {"actor": {"role": role}})
}

login(subject, role) := {"operation": "login_link.create", "subject": subject, "role": role}

operations := [
	"pair.approve", "dead_letter.retry", "dead_letter.drop",
	"login_link.create", "key.create", "key.revoke", "model.use",
]

test_incomplete_input_is_denied_by_default if {
	action := {"operation": "pair.approve", "role": "member", "subject": ""}
	whole := asked.by(action, {"actor": {"role": "owner"}})
	own := ["/action/operation", "/action/role", "/action/subject"]
	admin.decision.effect == "allow" with input as whole
	every path in array.concat(asked.shared_fields, own) {
		every broken in asked.damaged(whole, path) {
			admin.decision == asked.nothing with input as broken
		}
	}
}

test_giving_a_role_away_without_naming_it_is_denied if {
	every operation in ["pair.approve", "login_link.create", "key.create"] {
		decided("owner", {"operation": operation, "role": ""}) == asked.nothing
	}
}

test_everybody_else_is_denied if {
	every role in ["member", "guest", "customer", "auditor", "service", "device", "emperor"] {
		every operation in operations {
			decided(role, {"operation": operation, "role": "guest"}).reasons == ["for owner and admins only"]
		}
	}
}

test_a_login_link_for_somebody_else_is_denied if {
	decided("member", login("person-2", "member")).effect == "deny"
	decided("member", login("", "member")).effect == "deny"
	decided("admin", login("person-2", "owner")).effect == "deny"
}

test_nobody_is_nobodys_self if {
	nobody := {"actor": {"id": "", "role": "member"}}
	admin.decision.effect == "deny" with input as asked.by(login("", "member"), nobody)
}

test_a_key_with_less_power_makes_no_link_to_more if {
	every role in ["admin", "member", "guest"] {
		decided(role, login("person-1", "owner")).effect == "deny"
	}
}

test_programs_and_devices_get_no_login_link if {
	every role in ["service", "device"] {
		decided(role, login("person-1", role)).effect == "deny"
	}
}

test_an_admin_gives_no_power_away if {
	every role in ["owner", "admin"] {
		every operation in operations {
			decision := decided("admin", {"operation": operation, "role": role})
			decision.effect == "deny"
			decision.reasons == ["only the owner gives the power of an owner or admin away"]
		}
	}
}

test_an_admin_may_do_the_rest if {
	every operation in operations {
		decided("admin", {"operation": operation, "role": "member"}).effect == "allow"
	}
	decided("admin", {}).reasons == ["owner and admins look after this"]
}

test_the_owner_may_do_everything if {
	every operation in array.concat(operations, ["something.new"]) {
		every role in ["owner", "admin", "member"] {
			decided("owner", {"operation": operation, "role": role}).effect == "allow"
		}
	}
}

test_people_make_login_links_for_themselves if {
	every role in ["owner", "admin", "member", "guest", "customer", "auditor"] {
		decision := decided(role, login("person-1", role))
		decision.effect == "allow"
		"a login link of one's own" in decision.reasons
	}
}

test_own_rules_narrow if {
	decided("owner", {}).effect == "deny" with data.portico.user.admin.deny as {"not now"}
	decided("owner", {}).effect == "ask" with data.portico.user.admin.ask as {"mine"}
}

test_only_the_owner_releases_a_conversation if {
	release := {"operation": "conversation.release", "subject": "conversation-1"}
	decided("owner", release).effect == "allow"
	decided("admin", release).reasons == ["only the owner releases a conversation for the cloud"]
	decided("admin", object.union(release, {"operation": "conversation.keep"})).effect == "allow"
	decided("member", release).effect == "deny"
}
