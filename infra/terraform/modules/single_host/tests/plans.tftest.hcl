mock_provider "docker" {}

variables {
  source_folder     = "/srv/portico/source"
  deployment_folder = "/srv/portico/deployment"
  site              = "chat.example.com"
}

run "publishes_caddy_alone" {
  command = plan

  assert {
    condition     = [for name, part in output.parts : name if length(part.ports) > 0] == ["caddy"]
    error_message = "Only Caddy has a port."
  }

  assert {
    condition     = output.parts["caddy"].ports == [{ address = "0.0.0.0", outside = 443, inside = 8443 }] && output.url == "https://chat.example.com"
    error_message = "Caddy listens where it was told."
  }
}

run "hardens_every_container" {
  command = plan

  assert {
    condition     = alltrue([for part in values(output.parts) : part.read_only && part.cap_drop == toset(["ALL"]) && contains(part.security_opts, "no-new-privileges:true")])
    error_message = "Read-only, without capabilities, and without a way to get them."
  }

  assert {
    condition     = alltrue([for part in values(output.parts) : part.memory > 0 && part.pids > 0])
    error_message = "Memory and processes of every container are bounded."
  }

  assert {
    condition     = length([for option in output.parts["sandbox"].security_opts : option if startswith(option, "seccomp={")]) == 1
    error_message = "The sandbox has its profile, as text."
  }
}

run "keeps_core_sandbox_and_models_inside" {
  command = plan

  assert {
    condition     = [for name, network in docker_network.this : name if network.internal] == ["core", "models", "sandbox"]
    error_message = "Three networks have no way out."
  }
}

run "knows_no_volume_that_it_may_not_delete" {
  command = plan

  assert {
    condition     = length(docker_volume.this) == 0 && contains(output.volumes, "portico_postgres")
    error_message = "Volumes are Docker's until destroy_data is applied."
  }
}

run "deletes_volumes_when_told_so" {
  command = plan
  variables {
    destroy_data = true
  }

  assert {
    condition     = sort([for volume in values(docker_volume.this) : volume.name]) == output.volumes
    error_message = "destroy_data reaches every volume."
  }
}

run "starts_what_is_needed_first" {
  command = plan

  assert {
    condition     = contains(output.stages[0], "postgres") && contains(output.stages[length(output.stages) - 1], "caddy")
    error_message = "The database first, the door last."
  }
}

run "scales_workers_and_moves_the_port" {
  command = plan
  variables {
    workers         = 3
    portico_version = "1.2.3"
    listen          = { address = "127.0.0.1", port = 8443 }
    variables       = { PORTICO_TLS = "internal" }
  }

  assert {
    condition     = length([for name in keys(local.copies) : name if startswith(name, "worker-")]) == 3
    error_message = "Three workers."
  }

  assert {
    condition     = output.parts["api"].image == "portico-api:1.2.3" && output.url == "https://chat.example.com:8443"
    error_message = "Version and port reach what they name."
  }

  assert {
    condition     = contains(output.parts["caddy"].environment, "PORTICO_TLS=internal") && contains(output.parts["api"].environment, "PORTICO_PUBLIC_URL=https://chat.example.com")
    error_message = "Variables are filled in."
  }
}

run "leaves_a_profile_out_until_it_is_asked_for" {
  command = plan
  variables {
    compose_file = "tests/profile.yaml"
  }

  assert {
    condition     = keys(output.parts) == ["a"]
    error_message = "What has a profile does not run by itself."
  }
}

run "takes_a_profile_and_a_variable" {
  command = plan
  variables {
    compose_file = "tests/profile.yaml"
    profiles     = ["more"]
    variables    = { B_VERSION = "\"2\"" }
  }

  assert {
    condition     = output.parts["b"].image == "b:\"2\"" && output.parts["b"].environment == toset(["COST=5$", "EMPTY=", "QUOTED=a \"b\" \\c"])
    error_message = "Values stay the text that they are."
  }

  assert {
    condition     = output.parts["b"].healthcheck.interval == "90s" && output.parts["b"].stop_timeout == 60 && output.parts["b"].watched
    error_message = "What compose says of health is taken over, and waited for."
  }
}

run "takes_over_all_that_compose_says_with_every_profile" {
  command = plan
  variables {
    profiles = ["hybrid", "observability"]
    workers  = 3
  }

  assert {
    condition     = output.parts["api"].networks["core"] == toset(["api", "api.core"]) && output.parts["worker"].networks["core"] == toset(["worker", "worker.core"]) && output.parts["worker"].networks["models"] == toset(["worker"])
    error_message = "Prometheus finds edge and workers by the names that they have in one network alone."
  }

  assert {
    condition     = output.parts["grafana"].joins == "prometheus" && length(output.parts["grafana"].networks) == 0 && contains(output.parts["grafana"].needs, "prometheus")
    error_message = "Grafana is in the network of Prometheus."
  }

  assert {
    condition     = !contains(values(local.mounted), sha256("")) && contains(keys(local.mounted), "./infra/observability/grafana/dashboards")
    error_message = "What is mounted shows its changes, be it a file or a folder: ${jsonencode(local.mounted)}"
  }

  assert {
    condition     = contains(output.parts["gate"].mounts[*].source, "/srv/portico/deployment/hybrid/gate")
    error_message = "The gate's keys lie with the deployment."
  }

  assert {
    condition     = output.parts["caddy"].cap_add == toset(["CAP_NET_BIND_SERVICE"]) && contains(output.parts["sandbox"].security_opts, "apparmor=unconfined")
    error_message = "What caddy is given and the sandbox is freed of, in Docker's words."
  }

  assert {
    condition     = length([for part in values(output.parts) : part if part.replicas != 1]) == 1 && length([for name in keys(local.copies) : name if startswith(name, "worker-")]) == 3
    error_message = "The worker alone runs several times."
  }
}

run "takes_names_in_networks_numbers_and_capabilities" {
  command = plan
  variables {
    compose_file = "tests/joined.yaml"
  }

  assert {
    condition     = jsonencode(output.parts["b"].networks) == jsonencode({ core = ["b", "b.core"], outside = ["b"] }) && jsonencode(output.stages) == jsonencode([["b", "c"], ["a"]])
    error_message = "Each network has its names, and who joins another one comes after it."
  }

  assert {
    condition     = join(" ", keys(local.copies)) == "a-1 b-1 c-1 c-2"
    error_message = "A number of copies is put in force."
  }

  assert {
    condition     = output.parts["c"].cap_add == toset(["CAP_NET_BIND_SERVICE"]) && output.parts["c"].cap_drop == toset(["ALL", "CAP_CHOWN"]) && output.parts["c"].security_opts == toset(["apparmor=portico"])
    error_message = "Written as Docker says it: else each plan would replace the container."
  }
}

run "puts_a_container_into_the_network_of_another" {
  command = plan
  module {
    source = "./stage"
  }
  variables {
    common = { name = "portico", docker_host = "unix:///var/run/docker.sock", networks = { core = "portico_core" } }
    ids    = { portico-b-1 = "1234" }
    containers = { for name, more in { a = { joins = "b", networks = {} }, c = { joins = null, networks = { core = ["c", "c.core"] } } } : "${name}-1" => merge(more, {
      service = name, image = "x", environment = [], restart = "no", init = true, read_only = true, cap_drop = [], cap_add = [], security_opts = [], log_options = {}, tmpfs = {},
      mounts  = [], ports = [], watched = false, stop_timeout = 10, job = false, digest = "x"
    }) }
  }

  assert {
    condition     = docker_container.this["a-1"].network_mode == "container:1234" && length(docker_container.this["a-1"].networks_advanced) == 0
    error_message = "It has no network of its own."
  }

  assert {
    condition     = jsonencode(docker_container.this["c-1"].networks_advanced[*].aliases) == jsonencode([["c", "c.core"]])
    error_message = "The other ones have their names in each of theirs."
  }
}
