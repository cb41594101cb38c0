output "ids" {
  description = "Name of each container → its id."
  value       = { for container in values(docker_container.this) : container.name => container.id }
}
