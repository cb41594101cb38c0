# METADATA
# title: May this go out, and there?
# description: |
#   Asked before every delivery.
#   action: {"kind": "reply"|"notice"|"pairing", "channel", "account", "conversation", "admit"}: where it is to
#   go. That has to be where the question came from. Only a pairing notice goes to somebody unknown.
#   action: {"kind": "callback", "host", "port", "named"}: where a tool's result is to be posted; `named` says that
#   the settings name the host.
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

callback if {
	people.complete
	input.action.kind == "callback"
	people.filled(input.action.host)
	is_number(input.action.port)
	input.action.port > 0
	is_boolean(input.action.named)
}

allow contains "a callback to a host that the settings name" if {
	callback
	people.known
	input.action.named
}

allow contains "a callback into the public internet" if {
	callback
	people.known
	not input.context.local_only
}

deny contains "local_only: results are posted only to hosts that the settings name" if {
	callback
	input.context.local_only
	not input.action.named
}
