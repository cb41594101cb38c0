# METADATA
# title: May this person change what belongs to all?
# description: |
#   Asked by doors that have no workflow, before each change that they make.
#   action: {"operation": "pair.approve"|"dead_letter.retry"|"dead_letter.drop"|"login_link.create"|"model.use"|…,
#   "role": the role that is given away, or "", "subject": id of the person or thing that it is about, or ""}.
package portico.admin

import data.portico.people
import data.portico.verdict

default decision := {"effect": "deny", "reasons": ["no rule allowed it"], "obligations": []}

# METADATA
# title: The answer
# entrypoint: true
decision := verdict.of(
	{"allow": allow, "deny": deny, "ask": set(), "obligations": set()},
	own,
)

# The user's own rules narrow the answer.
own["deny"] := data.portico.user.admin.deny

own["ask"] := data.portico.user.admin.ask

complete if {
	people.complete
	people.filled(input.action.operation)
	is_string(input.action.role)
	is_string(input.action.subject)
	not nameless
}

# What gives a role away has to say which.
nameless if {
	input.action.operation in {"pair.approve", "login_link.create", "key.create"}
	input.action.role == ""
}

powerful if input.action.role in data.portico.roles.approvers

# A session lives longer than the key that asked for it: programs and devices keep to their keys.
opens_pages if input.actor.role in {"owner", "admin", "member", "guest", "customer", "auditor"}

# The role counts too: a key may have less power than the person it belongs to, a session has all of it.
own_login if {
	opens_pages
	input.action.operation == "login_link.create"
	people.filled(input.actor.id)
	input.action.subject == input.actor.id
	input.action.role == input.actor.role
}

allow contains "owner and admins look after this" if {
	complete
	people.approver
}

allow contains "a login link of one's own" if {
	complete
	own_login
}

deny contains "for owner and admins only" if {
	complete
	not people.approver
	not own_login
}

deny contains "only the owner gives the power of an owner or admin away" if {
	complete
	powerful
	input.actor.role != "owner"
	not own_login
}

# What has left cannot be taken back, so it is not for those who only look after the gateway.
deny contains "only the owner releases a conversation for the cloud" if {
	input.action.operation == "conversation.release"
	input.actor.role != "owner"
}
