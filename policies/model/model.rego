# METADATA
# title: May this content go to that model?
# description: |
#   Asked before a language model route is used.
#   action: {"route": name, "locality": "local"|"cloud", "owner_allowed": bool}; the latter says that the
#   owner released this conversation's content for cloud routes.
package portico.model

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
own["deny"] := data.portico.user.model.deny

own["ask"] := data.portico.user.model.ask

complete if {
	people.complete
	people.filled(input.action.route)
	input.action.locality in {"local", "cloud"}
	is_boolean(input.action.owner_allowed)
	talks
}

# Whoever got past `inbound`; an auditor reads and never causes content to be sent anywhere.
talks if people.known

talks if people.pairable

cloud if input.action.locality == "cloud"

# Any class but this one is kept at home, also one that only a newer Portico knows.
shareable if input.conversation.data_class == "shareable"

allow contains "the model runs on this machine" if {
	complete
	not cloud
}

allow contains "the content may leave the machine" if {
	complete
	cloud
	shareable
}

allow contains "the owner released this conversation" if {
	complete
	cloud
	input.action.owner_allowed
}

deny contains "local mode: nothing leaves this machine" if {
	complete
	cloud
	input.context.local_only
}

deny contains "content of a local conversation stays on this machine" if {
	complete
	cloud
	not shareable
	not input.action.owner_allowed
}
