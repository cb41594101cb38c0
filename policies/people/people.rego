# METADATA
# title: Who somebody is to Portico, and whether the input can be relied on
# description: |
#   What every question needs. Only what is wholly there and of the agreed type counts: a question asked
#   with anything less is answered by the default, which is deny.
package portico.people

# METADATA
# description: Every part of the input that all questions share is there and has its type.
complete if {
	is_string(input.actor.id)
	filled(input.actor.role)
	is_boolean(input.actor.paired)
	filled(input.channel.name)
	filled(input.channel.account)
	is_boolean(input.channel.group)
	filled(input.conversation.id)
	filled(input.conversation.data_class)
	is_object(input.action)
	filled(input.context.now)
	is_boolean(input.context.local_only)
	is_number(input.context.cost_today)
}

filled(value) if {
	is_string(value)
	value != ""
}

# METADATA
# description: A role that was given by the owner, or a person (or device) who has paired.
known if input.actor.role in data.portico.roles.known

known if {
	pairable
	input.actor.paired == true
}

# METADATA
# description: Somebody who may pair, and whom an account open to anyone lets in.
pairable if input.actor.role in data.portico.roles.pairable

# METADATA
# description: |
#   May talk here. An account that admits anyone does so in private chats only: in a group everybody
#   reads the answer, so there it takes somebody who is known.
admitted if known

admitted if {
	pairable
	input.channel.group == false
	input.action.admit == "anyone"
}

# METADATA
# description: Owner and admins, who may decide over risks.
approver if input.actor.role in data.portico.roles.approvers
