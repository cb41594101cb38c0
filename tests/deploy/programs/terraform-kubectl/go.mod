module portico.invalid/tests/terraform-kubectl

go 1.26.0

require github.com/gavinbunney/terraform-provider-kubectl v1.19.0
