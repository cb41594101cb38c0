mock_provider "docker" {}

variables {
  source_folder     = "/srv/portico/source"
  deployment_folder = "/srv/portico/deployment"
  site              = "chat.example.com"
}

run "refuses_a_name_with_capitals" {
  command = plan
  variables {
    name = "Portico"
  }
  expect_failures = [var.name]
}

run "refuses_a_daemon_on_an_open_port" {
  command = plan
  variables {
    docker_host = "tcp://server:2375"
  }
  expect_failures = [var.docker_host]
}

run "refuses_a_compose_file_that_is_not_there" {
  command = plan
  variables {
    compose_file = "tests/missing.yaml"
  }
  expect_failures = [var.compose_file]
}

run "refuses_a_relative_source" {
  command = plan
  variables {
    source_folder = "source"
  }
  expect_failures = [var.source_folder]
}

run "refuses_a_folder_that_mount_options_would_read" {
  command = plan
  variables {
    deployment_folder = "/srv/a:b"
  }
  expect_failures = [var.deployment_folder]
}

run "refuses_an_address_as_site" {
  command = plan
  variables {
    site = "https://chat.example.com"
  }
  expect_failures = [var.site]
}

run "refuses_a_name_to_listen_on" {
  command = plan
  variables {
    listen = { address = "localhost" }
  }
  expect_failures = [var.listen]
}

run "refuses_a_port_that_is_none" {
  command = plan
  variables {
    listen = { port = 0 }
  }
  expect_failures = [var.listen]
}

run "refuses_a_version_that_is_no_tag" {
  command = plan
  variables {
    portico_version = "1.0 beta"
  }
  expect_failures = [var.portico_version]
}

run "refuses_no_worker" {
  command = plan
  variables {
    workers = 0
  }
  expect_failures = [var.workers]
}

run "refuses_what_has_a_variable_of_its_own" {
  command = plan
  variables {
    variables = { PORTICO_SITE = "other.example.com" }
  }
  expect_failures = [var.variables]
}

run "refuses_a_value_that_would_be_read_again" {
  command = plan
  variables {
    variables = { PORTICO_TLS = "$${PORTICO_SITE}" }
  }
  expect_failures = [var.variables]
}

run "refuses_a_variable_that_compose_has_not" {
  command = plan
  variables {
    variables = { PORTICO_TSL = "internal" }
  }
  expect_failures = [terraform_data.compose]
}

run "refuses_a_profile_that_compose_has_not" {
  command = plan
  variables {
    profiles = ["everything"]
  }
  expect_failures = [terraform_data.compose]
}

run "refuses_to_leave_out_what_compose_says" {
  command = plan
  variables {
    compose_file = "tests/unknown.yaml"
  }
  expect_failures = [terraform_data.compose]
}

run "refuses_services_that_wait_for_each_other" {
  command = plan
  variables {
    compose_file = "tests/circle.yaml"
  }
  expect_failures = [terraform_data.compose]
}

run "refuses_a_variable_with_two_defaults" {
  command = plan
  variables {
    compose_file = "tests/defaults.yaml"
  }
  expect_failures = [terraform_data.compose]
}

run "refuses_to_leave_out_what_compose_says_deeper" {
  command = plan
  variables {
    compose_file = "tests/nested.yaml"
  }
  expect_failures = [terraform_data.compose]
  assert {
    condition = jsonencode(local.unknown) == jsonencode([
      "a.command that is no list", "a.depends_on.b.restart", "a.deploy.resources", "a.environment that is no mapping",
      "a.healthcheck.start_interval", "a.healthcheck.test that is no list", "a.logging.mode", "a.networks.core.ipv4_address",
      "a.secrets.0.mode", "a.size 512k", "a.stop_grace_period 1m30s", "a.volume x:/x:ro,z", "b.deploy.replicas many",
      "b.network_mode host", "configs",
      "networks.core.ipam", "secrets.key.name", "volumes.x.external",
    ])
    error_message = "Each is named: ${jsonencode(local.unknown)}"
  }
}

run "refuses_a_number_of_workers_that_compose_overrules" {
  command = plan
  variables {
    compose_file = "tests/fixed.yaml"
    workers      = 2
  }
  expect_failures = [terraform_data.compose]
}
