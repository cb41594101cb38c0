# METADATA
# title: May this message pass?
# description: |
#   Asked of every event before anything else is done with it.
#   action: {"kind": "text"|"command"|"button"|"media"|"pair", "admit": "paired"|"anyone", "addressed": bool}.
#   A deny obliges to `offer_pairing` (a pairing code, nothing else) or to `ignore` (no answer at all).
package portico.inbound

import data.portico.people
import data.portico.verdict

default decision := {"effect": "deny", "reasons": ["no rule allowed it"], "obligations": []}

# METADATA
# title: The answer
# entrypoint: true
decision := verdict.of(
	{"allow": allow, "deny": deny, "ask": set(), "obligations": obligations},
	own,
)

# The user's own rules narrow the answer.
own["deny"] := data.portico.user.inbound.deny

own["ask"] := data.portico.user.inbound.ask

complete if {
	people.complete
	people.filled(input.action.kind)
	input.action.admit in {"paired", "anyone"}
	is_boolean(input.action.addressed)
}

pairing if input.action.kind == "pair"

allow contains "the sender is known here" if {
	complete
	people.known
}

allow contains "the account admits anyone" if {
	complete
	people.admitted
	not people.known
}

# The pairing step checks the code; it is reached by everybody who could become known by it.
allow contains "a pairing attempt" if {
	complete
	pairing
	people.pairable
}

deny contains "the sender is not paired" if unpaired

unpaired if {
	complete
	people.pairable
	not people.admitted
	not private_pairing
}

deny contains "a group message that does not address the bot" if {
	complete
	input.channel.group
	not input.action.addressed
}

# A code that is sent to a group has been read by the group.
deny contains "pairing happens in a private chat" if {
	complete
	input.channel.group
	pairing
}

private_pairing if {
	pairing
	not input.channel.group
}

obligations contains {"kind": "offer_pairing"} if {
	unpaired
	not input.channel.group
}

obligations contains {"kind": "ignore"} if {
	count(deny) > 0
	input.channel.group
}
