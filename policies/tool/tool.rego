# METADATA
# title: May this tool run with these parameters?
# description: |
#   Asked before every execution, and again after an approval.
#   action: {"tool": name, "effects": "none"|"read"|"write", "risk": "low"|"medium"|"high", "params_hash",
#   "content_hash", "source": "function"|"mcp", "hosts": [what the settings let it reach]}: what the tool's
#   declaration says, and the hashes of the exact parameters and of the tool that this decision is about.
#   After a person agreed, context.approved_by says who ({"id", "role"}) and to which hashes.
package portico.tool

import data.portico.people
import data.portico.verdict

default decision := {"effect": "deny", "reasons": ["no rule allowed it"], "obligations": []}

# METADATA
# title: The answer
# entrypoint: true
decision := verdict.of(
	{
		"allow": allow, "deny": deny, "ask": ask, "obligations": set(),
		"when_allowed": reachable, "when_asked": self_approval,
	},
	own,
)

# The user's own rules narrow the answer. What they ask about is settled by an approval.
users["deny"] := data.portico.user.tool.deny

users["ask"] := data.portico.user.tool.ask

own["deny"] := users.deny

own["ask"] := users.ask if not approved

complete if {
	people.complete
	people.filled(input.action.tool)
	input.action.effects in {"none", "read", "write"}
	input.action.risk in {"low", "medium", "high"}
	people.filled(input.action.params_hash)
}

staff if input.actor.role in data.portico.roles.known

visitor if input.actor.role in {"guest", "customer"}

high if input.action.risk == "high"

consequential if input.action.effects == "write"

consequential if input.action.risk in {"medium", "high"}

# METADATA
# description: Somebody who may has agreed to exactly this.
approved if {
	input.context.approved_by.params_hash == input.action.params_hash
	input.context.approved_by.content_hash == input.action.content_hash
	agrees
}

agrees if input.context.approved_by.role in data.portico.roles.approvers

agrees if {
	people.filled(input.actor.id)
	input.context.approved_by.id == input.actor.id
	confirmable
}

# METADATA
# description: |
#   Who asked may answer for it themselves: it changes something, which a person should have seen before, but a
#   mistake would cost little, and no rule of the owner's asks.
confirmable if {
	staff
	input.action.risk == "low"
	count(verdict.reasons(users, "ask")) == 0
}

confirmable if people.approver

self_approval contains {"kind": "self_approval"} if {
	complete
	confirmable
}

reachable contains {"kind": "network", "hosts": sort(input.action.hosts)} if {
	staff
	count(input.action.hosts) > 0
}

allow contains "a low risk that changes nothing" if {
	complete
	staff
	not consequential
}

allow contains "a low risk that touches nothing" if {
	complete
	visitor
	input.action.effects == "none"
	input.action.risk == "low"
}

allow contains "somebody who may has agreed to exactly this" if {
	complete
	staff
	consequential
	approved
}

ask contains "a high risk" if {
	complete
	people.approver
	high
	not approved
}

ask contains "it writes, or its risk is not low" if {
	complete
	staff
	consequential
	not high
	not approved
}

deny contains "a high risk, for owner and admins only" if {
	complete
	high
	not people.approver
}
