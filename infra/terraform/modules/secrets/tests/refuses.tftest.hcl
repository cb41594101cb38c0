variables {
  folder = "/srv/portico"
  site   = "chat.example.com"
}

run "plans_with_a_folder_that_is_empty" {
  command = plan

  assert {
    condition     = output.files["master_key"] == "/srv/portico/secrets/master_key"
    error_message = "Each secret is a file in the folder's secrets/."
  }
}

run "refuses_a_relative_folder" {
  command = plan
  variables {
    folder = "srv/portico"
  }
  expect_failures = [var.folder]
}

run "refuses_a_folder_with_a_space" {
  command = plan
  variables {
    folder = "/srv/my portico"
  }
  expect_failures = [var.folder]
}

run "refuses_an_address_as_site" {
  command = plan
  variables {
    site = "https://chat.example.com/"
  }
  expect_failures = [var.site]
}

run "refuses_a_site_that_begins_with_a_hyphen" {
  command = plan
  variables {
    site = "-chat.example.com"
  }
  expect_failures = [var.site]
}

run "refuses_a_port_that_is_none" {
  command = plan
  variables {
    https_port = 65536
  }
  expect_failures = [var.https_port]
}

run "refuses_half_a_port" {
  command = plan
  variables {
    https_port = 443.5
  }
  expect_failures = [var.https_port]
}

run "refuses_a_program_with_arguments" {
  command = plan
  variables {
    program = "portico; rm -rf /"
  }
  expect_failures = [var.program]
}
