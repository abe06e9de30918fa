# Packer 1.7 and later take the builder from here: `packer init aib/packer`. Older
# ones have it built in and do not know this block: give them build.pkr.hcl alone.
packer {
  required_plugins {
    azure = {
      version = ">= 2.0.0"
      source  = "github.com/hashicorp/azure"
    }
  }
}
