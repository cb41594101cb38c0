# METADATA
# title: Inputs for the tests of all questions
package portico.asked_test

# METADATA
# description: A member in a private chat asks; `changes` is laid over it, `action` is the question's own.
by(action, changes) := object.union(
	{
		"actor": {"id": "person-1", "role": "member", "paired": true},
		"channel": {"name": "telegram", "account": "default", "group": false},
		"conversation": {"id": "conversation-1", "data_class": "local"},
		"action": action,
		"context": {"now": "2026-11-22T12:00:00Z", "local_only": false, "cost_today": 0},
	},
	changes,
)

# METADATA
# description: Every path at which something may be missing or of a wrong type.
shared_fields := [
	"/actor",
	"/actor/id",
	"/actor/role",
	"/actor/paired",
	"/channel",
	"/channel/name",
	"/channel/account",
	"/channel/group",
	"/conversation",
	"/conversation/id",
	"/conversation/data_class",
	"/action",
	"/context",
	"/context/now",
	"/context/local_only",
	"/context/cost_today",
]

# METADATA
# description: The input with one path taken away, and with nonsense of several types in its place.
damaged(whole, path) := {json.patch(whole, [{"op": "remove", "path": path}])} | {changed |
	some nonsense in [null, [], {"a": 1}, "", 0]
	not fits(path, nonsense)
	changed := json.patch(whole, [{"op": "replace", "path": path, "value": nonsense}])
}

# An empty id is what an unknown sender has, no cost is a number, and what an action holds is each question's.
fits("/actor/id", "")

fits("/context/cost_today", 0)

fits("/action", {"a": 1})

fits("/action/role", "")

fits("/action/intent", "")

fits(path, 0) if {
	startswith(path, "/action/")
	contains(path, "cost_")
}

fits("/action/subject", "")

nothing := {"effect": "deny", "reasons": ["no rule allowed it"], "obligations": []}
