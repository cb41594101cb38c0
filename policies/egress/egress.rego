# METADATA
# title: May this go out, and there?
# description: |
#   Asked before every delivery.
#   action: {"kind": "reply"|"notice"|"pairing", "channel", "account", "conversation", "admit"}: where it is to
#   go. That has to be where the question came from. Only a pairing notice goes to somebody unknown.
package portico.egress

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
own["deny"] := data.portico.user.egress.deny

own["ask"] := data.portico.user.egress.ask

complete if {
	people.complete
	input.action.kind in {"reply", "notice", "pairing"}
	people.filled(input.action.channel)
	people.filled(input.action.account)
	people.filled(input.action.conversation)
	input.action.admit in {"paired", "anyone"}
}

home if {
	input.action.channel == input.channel.name
	input.action.account == input.channel.account
	input.action.conversation == input.conversation.id
}

pairing if input.action.kind == "pairing"

allow contains "an answer to the conversation that asked" if {
	complete
	home
	not pairing
	people.admitted
}

allow contains "a pairing notice in a private chat" if {
	complete
	home
	pairing
	may_pair
	not input.channel.group
}

may_pair if people.pairable

# Who has just paired is told so.
may_pair if people.known

deny contains "not the conversation that asked" if {
	complete
	not home
}
