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
