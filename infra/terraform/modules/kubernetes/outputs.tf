output "namespace" {
  description = "Where everything is. `terraform destroy` leaves it, with its Secrets and volume claims, unless destroy_data was applied."
  value       = var.namespace
}

output "resources" {
  description = "What is applied, as kind/namespace/name, by stage."
  value = {
    base  = sort(keys(local.base))
    kept  = sort(keys(local.kept))
    jobs  = sort(keys(local.jobs))
    parts = sort(keys(local.parts))
    after = sort(keys(local.after))
  }
}
