# METADATA
# title: The one query of the gateway
# description: |
#   `POST /v1/data/system/gate/answers/<question>` tells in one answer whether policy is there (`ready`), which
#   bundle speaks (`revision`) and what it says (`decision`); what is missing is left out, so that an
#   undefined rule can be told from a policy that is not loaded.
package system.gate

# METADATA
# description: The questions that are answered.
questions := {"inbound", "model", "egress", "tool", "admin"}

answers[question].ready := data.system.ready if some question in questions

answers[question].revision := data.system.release.revision if some question in questions

answers[question].decision := data.portico[question].decision if some question in questions

# METADATA
# description: Asked without a question, for the health of the gateway.
answers.policy.ready := data.system.ready

answers.policy.revision := data.system.release.revision
