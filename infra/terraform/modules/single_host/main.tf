# The compose deployment as resources: an image, a network, a container each. Containers start in stages, each once the
# one before is healthy, or has ended well where it is a job.
resource "terraform_data" "compose" {
  input = sort(keys(local.parts))

  lifecycle {
    precondition {
      condition     = length(local.unknown) == 0
      error_message = "compose.yaml says what this module does not put in force: ${join(", ", local.unknown)}."
    }

    precondition {
      condition     = length(local.placed) == length(local.parts)
      error_message = "These services wait for each other, or in more than 7 stages: ${join(", ", setsubtract(keys(local.parts), local.placed))}."
    }

    precondition {
      condition     = length(setsubtract(keys(var.variables), local.asked)) == 0
      error_message = "compose.yaml has no such variable: ${join(", ", setsubtract(keys(var.variables), local.asked))}."
    }

    precondition {
      condition     = alltrue([for texts in values(local.defaults) : length(texts) == 1])
      error_message = "compose.yaml gives a variable several defaults: ${join(", ", [for name, texts in local.defaults : name if length(texts) > 1])}."
    }

    precondition {
      condition     = try(local.parts["worker"].replicas, var.workers) == var.workers
      error_message = "compose.yaml says how many workers run without asking PORTICO_WORKERS: ${try(local.parts["worker"].replicas, "")}, not ${var.workers}."
    }

    precondition {
      condition     = length(setsubtract(var.profiles, flatten([for service in values(local.compose.services) : try(service.profiles, [])]))) == 0
      error_message = "compose.yaml has no such profile: ${join(", ", var.profiles)}."
    }
  }
}

resource "docker_image" "this" {
  for_each = toset(values(local.parts)[*].image)

  name         = each.value
  keep_locally = true

  depends_on = [terraform_data.compose]
}

resource "docker_network" "this" {
  for_each = local.networks

  name     = "${var.name}_${each.value}"
  internal = try(local.compose.networks[each.value].internal, false)
  options  = try(local.compose.networks[each.value].driver_opts, null)
}

# Docker makes a volume that a container names; Terraform has to know only of those that it may delete.
resource "docker_volume" "this" {
  for_each = var.destroy_data ? local.volumes : toset([])

  name = "${var.name}_${each.value}"
}

locals {
  common = {
    name        = var.name
    docker_host = var.docker_host
    networks    = { for name, network in docker_network.this : name => network.name }
  }
}

module "stage_1" {
  source     = "./stage"
  common     = local.common
  containers = { for name, part in local.copies : name => part if contains(local.stage_1, part.service) }
  depends_on = [docker_volume.this]
}

module "stage_2" {
  source     = "./stage"
  common     = local.common
  ids        = module.stage_1.ids
  containers = { for name, part in local.copies : name => part if contains(local.stage_2, part.service) }
  depends_on = [module.stage_1]
}

module "stage_3" {
  source     = "./stage"
  common     = local.common
  ids        = merge(module.stage_1.ids, module.stage_2.ids)
  containers = { for name, part in local.copies : name => part if contains(local.stage_3, part.service) }
  depends_on = [module.stage_2]
}

module "stage_4" {
  source     = "./stage"
  common     = local.common
  ids        = merge(module.stage_1.ids, module.stage_2.ids, module.stage_3.ids)
  containers = { for name, part in local.copies : name => part if contains(local.stage_4, part.service) }
  depends_on = [module.stage_3]
}

module "stage_5" {
  source     = "./stage"
  common     = local.common
  ids        = merge(module.stage_1.ids, module.stage_2.ids, module.stage_3.ids, module.stage_4.ids)
  containers = { for name, part in local.copies : name => part if contains(local.stage_5, part.service) }
  depends_on = [module.stage_4]
}

module "stage_6" {
  source     = "./stage"
  common     = local.common
  ids        = merge(module.stage_1.ids, module.stage_2.ids, module.stage_3.ids, module.stage_4.ids, module.stage_5.ids)
  containers = { for name, part in local.copies : name => part if contains(local.stage_6, part.service) }
  depends_on = [module.stage_5]
}

module "stage_7" {
  source     = "./stage"
  common     = local.common
  ids        = merge(module.stage_1.ids, module.stage_2.ids, module.stage_3.ids, module.stage_4.ids, module.stage_5.ids, module.stage_6.ids)
  containers = { for name, part in local.copies : name => part if contains(local.stage_7, part.service) }
  depends_on = [module.stage_6]
}
