output "folder" {
  description = "The deployment's folder, once its secrets are there."
  value       = var.folder
  depends_on  = [terraform_data.secrets]
}

output "files" {
  description = "Name of each secret → the path of its file."
  value       = local.files
  depends_on  = [terraform_data.secrets]
}
