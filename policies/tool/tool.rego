# METADATA
# title: May this tool run with these parameters?
# description: |
#   Asked before every execution, and again after an approval.
#   action: {"tool": name, "effects": "none"|"read"|"write", "risk": "low"|"medium"|"high", "params_hash"}: what
#   the tool's declaration says, and the hash of the exact parameters that this decision is about.
package portico.tool

import data.portico.people
import data.portico.verdict

default decision := {"effect": "deny", "reasons": ["no rule allowed it"], "obligations": []}

# METADATA
# title: The answer
# entrypoint: true
decision := verdict.of(
	{"allow": allow, "deny": deny, "ask": ask, "obligations": set()},
	own,
)

# The user's own rules narrow the answer.
own["deny"] := data.portico.user.tool.deny

own["ask"] := data.portico.user.tool.ask

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

ask contains "a high risk" if {
	complete
	people.approver
	high
}

ask contains "it writes, or its risk is not low" if {
	complete
	staff
	consequential
	not high
}

deny contains "a high risk, for owner and admins only" if {
	complete
	high
	not people.approver
}
