output "url" {
  description = "Where people reach it."
  value       = "https://${var.site}${var.listen.port == 443 ? "" : ":${var.listen.port}"}"
}

output "containers" {
  description = "Name of each container → its id."
  value       = merge(module.stage_1.ids, module.stage_2.ids, module.stage_3.ids, module.stage_4.ids, module.stage_5.ids, module.stage_6.ids, module.stage_7.ids)
}

output "volumes" {
  description = "The volumes that hold data. `terraform destroy` leaves them unless destroy_data was applied."
  value       = sort([for volume in local.volumes : "${var.name}_${volume}"])
}

output "stages" {
  description = "Which services start together, in this order."
  value       = [for stage in [local.stage_1, local.stage_2, local.stage_3, local.stage_4, local.stage_5, local.stage_6, local.stage_7] : stage if length(stage) > 0]
}

output "parts" {
  description = "What each service became, in one form: what the tests compare with compose's own reading of the file."
  value       = local.parts
}
