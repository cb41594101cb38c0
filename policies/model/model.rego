# METADATA
# title: May this content go to that model?
# description: |
#   Asked of every language model route before one is used.
#   action: {"route": name, "locality": "local"|"cloud", "owner_allowed": bool, "purpose": "answer"|"embedding",
#   "intent": name, "input_cost_per_mtok", "output_cost_per_mtok", "cost_per_day", "cost_today",
#   "person_cost_today": numbers}. `owner_allowed` says that the owner released local content for cloud routes;
#   `cost_per_day` is the route's budget (0: none), `cost_today` what the route cost today, `person_cost_today`
#   what this person's answers cost today, over all routes. An allowed route has the obligation
#   {"kind": "prefer", "rank": number}: the least rank is tried first.
package portico.model

import data.portico.people
import data.portico.verdict

default decision := {"effect": "deny", "reasons": ["no rule allowed it"], "obligations": []}

# METADATA
# title: The answer
# entrypoint: true
decision := object.union(said, {"obligations": preferences}) if {
	said.effect == "allow"
} else := said

said := verdict.of(
	{"allow": allow, "deny": deny, "ask": set(), "obligations": set()},
	own,
)

preferences := [{"kind": "prefer", "rank": rank} | some rank in ranks]

# Routes on this machine come before the cloud, unless the user's own rules rank them.
ranks := own_ranks if {
	count(own_ranks) > 0
} else := {20} if {
	cloud
} else := {10}

own_ranks contains rank if {
	some rank in data.portico.user.model.rank
	is_number(rank)
}

own_ranks contains data.portico.user.model.rank if is_number(data.portico.user.model.rank)

# The user's own rules narrow the answer.
own["deny"] := data.portico.user.model.deny

own["ask"] := data.portico.user.model.ask

complete if {
	people.complete
	people.filled(input.action.route)
	input.action.locality in {"local", "cloud"}
	is_boolean(input.action.owner_allowed)
	input.action.purpose in {"answer", "embedding"}
	is_string(input.action.intent)
	every cost in costs {
		is_number(input.action[cost])
		input.action[cost] >= 0
	}
	talks
}

costs := {
	"input_cost_per_mtok",
	"output_cost_per_mtok",
	"cost_per_day",
	"cost_today",
	"person_cost_today",
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

deny contains "what this route may cost a day is used up" if {
	complete
	input.action.cost_per_day > 0
	input.action.cost_today >= input.action.cost_per_day
}
