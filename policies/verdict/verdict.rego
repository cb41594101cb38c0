# METADATA
# title: How the rules of a question become one decision
# description: |
#   Deny wins over ask, ask over allow, and nothing said leaves the default, deny. Rules of the user's own
#   (`portico.user.<question>`) are looked at for `deny` and `ask` only, so they can narrow what is
#   shipped and can never widen it. Whatever shape they have, they fail towards deny.
package portico.verdict

# METADATA
# description: |
#   The decision; undefined when nothing was said, so that the question's default answers. `shipped` holds the
#   sets `allow`, `deny`, `ask` (reasons) and `obligations` (of a deny; `when_asked` and `when_allowed` those of
#   the others, where there are any), `own` what the user's rules say.
of(shipped, own) := decision("deny", said, []) if {
	said := reasons(own, "deny")
	count(said) > 0
} else := decision("deny", shipped.deny, shipped.obligations) if {
	count(shipped.deny) > 0
} else := decision("ask", said, object.get(shipped, "when_asked", set())) if {
	count(shipped.allow | shipped.ask) > 0
	said := shipped.ask | reasons(own, "ask")
	count(said) > 0
} else := decision("allow", shipped.allow, object.get(shipped, "when_allowed", set())) if {
	count(shipped.allow) > 0
}

decision(effect, said, obligations) := {
	"effect": effect,
	"reasons": sort(said),
	"obligations": sort(obligations),
}

# A set of sentences is the documented shape. `deny if …` and `deny := "why"` are what people also write, and
# must not be overheard; anything else that is there and is not false counts as said.
reasons(own, name) := {sentence(reason) | some reason in own[name]} if {
	many(own[name])
} else := {sentence(own[name])} if {
	object.get(own, name, false) != false
} else := set()

many(value) if is_set(value)

many(value) if is_array(value)

many(value) if is_object(value)

sentence(reason) := reason if {
	is_string(reason)
} else := "a rule of your own, which gives no reason"
