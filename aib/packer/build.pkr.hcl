# The image of ../templates/ubuntu-app.json for those who run Packer themselves:
#
#   packer init aib/packer
#   packer build -only=azure-arm.ubuntu -var-file=app.pkrvars.hcl aib/packer
#
# The source null.machine runs the same steps on a machine that you already have
# and makes no image of it: to try them out, and in tests. They end with the
# machine generalized, so let it be one that you can throw away.

variable "deb" {
  type        = string
  description = "The package fleet-agent, a file on this machine."
}

variable "deb_sha256" {
  type        = string
  description = "Its SHA-256 checksum, from SHA256SUMS beside it."
}

variable "agent_version" {
  type        = string
  description = "The version that the package must have."
}

variable "image" {
  type        = string
  description = "Image definition in the gallery; also noted in /etc/fleet-agent/image-release."
  default     = "ubuntu-app"
}

variable "image_version" {
  type        = string
  description = "Version to publish, as in 1.7.1."
  default     = "0.0.1"
}

variable "prepare" {
  type        = list(string)
  description = "Commands that install the workloads, run by `/bin/sh -e` as the build user."
  default = [
    "timeout 300 cloud-init status --wait || true",
    "sudo apt-get -q -o DPkg::Lock::Timeout=300 update",
    "sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 upgrade",
    "sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 install nginx",
    "sudo systemctl enable nginx.service",
    # Debian's unit waits 5 s for requests, whatever its stop timeout is.
    "sudo mkdir -p /etc/systemd/system/nginx.service.d",
    "printf '[Service]\\nExecStop=\\nKillSignal=SIGQUIT\\n' | sudo tee /etc/systemd/system/nginx.service.d/60-graceful.conf >/dev/null",
  ]
}

variable "workloads" {
  type        = list(string)
  description = "Units that stop with a drain."
  default     = ["nginx.service"]
}

variable "stop_timeout" {
  type        = string
  description = "How long each of them may take; no longer than the drain plan gives them."
  default     = "30s"
}

variable "ports" {
  type        = list(string)
  description = "TCP ports besides 22 that may be open to the network."
  default     = ["80"]
}

variable "source_image" {
  type        = object({ publisher = string, offer = string, sku = string })
  description = "The image of the Marketplace that the build begins with."
  default     = { publisher = "Canonical", offer = "0001-com-ubuntu-server-jammy", sku = "22_04-lts-gen2" }
}

variable "build_network" {
  type        = object({ resource_group = string, name = string, subnet = string })
  description = "A network to build in, over private addresses alone; left out: one of the build's own."
  default     = { resource_group = "", name = "", subnet = "" }
}

variable "subscription_id" {
  type    = string
  default = "00000000-0000-0000-0000-000000000000"
}

variable "location" {
  type    = string
  default = "eastus"
}

variable "gallery_resource_group" {
  type    = string
  default = "rg-images"
}

variable "gallery" {
  type    = string
  default = "galProd"
}

variable "replication_regions" {
  type    = list(string)
  default = ["eastus"]
}

variable "ssh_host" {
  type        = string
  description = "Of the source null.machine, as are the next two."
  default     = "127.0.0.1"
}

variable "ssh_username" {
  type    = string
  default = "packer"
}

variable "ssh_private_key_file" {
  type    = string
  default = ""
}

source "azure-arm" "ubuntu" {
  use_azure_cli_auth = true
  subscription_id    = var.subscription_id
  location           = var.location
  vm_size            = "Standard_D2as_v5"

  os_type         = "Linux"
  image_publisher = var.source_image.publisher
  image_offer     = var.source_image.offer
  image_sku       = var.source_image.sku

  virtual_network_resource_group_name = var.build_network.resource_group
  virtual_network_name                = var.build_network.name
  virtual_network_subnet_name         = var.build_network.subnet

  # Excluded from latest: a scale set that follows the definition takes the version
  # when it is promoted, and not before.
  shared_gallery_image_version_exclude_from_latest = true
  shared_image_gallery_destination {
    subscription        = var.subscription_id
    resource_group      = var.gallery_resource_group
    gallery_name        = var.gallery
    image_name          = var.image
    image_version       = var.image_version
    replication_regions = var.replication_regions
    # With Packer 1.7 and later: storage_account_type = "Standard_ZRS", so that the
    # loss of one zone does not stop instances from being created.
  }
  managed_image_resource_group_name = var.gallery_resource_group
  managed_image_name                = "${var.image}-${var.image_version}"
}

source "null" "machine" {
  communicator         = "ssh"
  ssh_host             = var.ssh_host
  ssh_username         = var.ssh_username
  ssh_private_key_file = var.ssh_private_key_file
  ssh_agent_auth       = var.ssh_private_key_file == ""
}

build {
  sources = ["source.azure-arm.ubuntu", "source.null.machine"]

  provisioner "shell" {
    inline = var.prepare
  }

  provisioner "file" {
    source      = var.deb
    destination = "/tmp/fleet-agent.deb"
  }

  provisioner "file" {
    source      = "${path.root}/../customizers"
    destination = "/tmp"
  }

  provisioner "shell" {
    inline = [
      "sh /tmp/customizers/install-fleet-agent.sh --deb /tmp/fleet-agent.deb --sha256 ${var.deb_sha256} --stamp IMAGE=${var.image} --stamp IMAGE_VERSION=${var.image_version}",
      "sh /tmp/customizers/adopt-workloads.sh --stop-timeout ${var.stop_timeout} ${join(" ", var.workloads)}",
      "sh /tmp/customizers/harden-cis-baseline.sh",
    ]
  }

  # From here on sshd takes no new connection; Packer keeps the one that it has.
  provisioner "shell" {
    inline = [
      "sh /tmp/customizers/generalize.sh",
      "sh /tmp/customizers/validate.sh --stage baked --version ${var.agent_version} ${join(" ", formatlist("--workload %s", var.workloads))} ${join(" ", formatlist("--listen %s", var.ports))}",
    ]
  }

  # The build user goes with it, and so cannot remove Packer's script afterwards.
  provisioner "shell" {
    only       = ["azure-arm.ubuntu"]
    inline     = ["sudo sh -c 'waagent -force -deprovision+user && sync'"]
    skip_clean = true
  }
}
