package portico.people_test

import data.portico.asked_test as asked
import data.portico.people

test_unknown_role_is_nobody if {
	stranger := asked.by({"admit": "anyone"}, {"actor": {"role": "emperor", "paired": true}})
	not people.known with input as stranger
	not people.admitted with input as stranger
	not people.pairable with input as stranger
	not people.approver with input as stranger
}

test_an_auditor_is_never_admitted if {
	auditor := asked.by({"admit": "anyone"}, {"actor": {"role": "auditor", "paired": true}})
	not people.known with input as auditor
	not people.admitted with input as auditor
}

test_incomplete_input_is_not_complete if {
	whole := asked.by({}, {})
	people.complete with input as whole
	every path in asked.shared_fields {
		every broken in asked.damaged(whole, path) {
			not people.complete with input as broken
		}
	}
}

test_filled_wants_a_sentence if {
	people.filled("a")
	not people.filled("")
	not people.filled(7)
}

test_roles_given_by_the_owner_are_known if {
	every role in ["owner", "admin", "member", "service"] {
		people.known with input as asked.by({}, {"actor": {"role": role, "paired": false}})
	}
}

test_guests_are_known_once_paired if {
	every role in ["guest", "customer", "device"] {
		people.known with input as asked.by({}, {"actor": {"role": role, "paired": true}})
		not people.known with input as asked.by({}, {"actor": {"role": role, "paired": false}})
	}
}

test_anyone_is_admitted_in_private_only if {
	guest := {"role": "guest", "paired": false}
	people.admitted with input as asked.by({"admit": "anyone"}, {"actor": guest})
	not people.admitted with input as asked.by({"admit": "anyone"}, {"actor": guest, "channel": {"group": true}})
	not people.admitted with input as asked.by({"admit": "paired"}, {"actor": guest})
	not people.admitted with input as asked.by({}, {"actor": guest})
}

test_owner_and_admin_approve if {
	people.approver with input as asked.by({}, {"actor": {"role": "owner"}})
	people.approver with input as asked.by({}, {"actor": {"role": "admin"}})
	not people.approver with input as asked.by({}, {})
}
