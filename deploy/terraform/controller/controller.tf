# The controller's machine: one small instance, whose disk keeps keys and records.

data "aws_subnet" "controller" {
  id = local.controller_subnet
}

locals {
  settings = <<-TOML
    state = "/var/lib/chinampa"
    cluster = "${var.cluster}"

    [link]
    addresses = ["${local.address}:${local.port}"]

    [cloud]
    kind = "ec2"

    [cloud.ec2]
    region = "${local.region}"
    subnets = ${jsonencode(var.subnet_ids)}
    image_amd64 = "${var.cell_image_amd64}"
    image_arm64 = "${var.cell_image_arm64}"
    certificates = "/etc/chinampa/certificates"
    cluster_security_group = "${var.cluster_security_group}"
    queue_url = "${aws_sqs_queue.notices.url}"

    ${var.settings}
  TOML
  user_data = <<-CLOUD
    #cloud-config
    ${yamlencode({
  write_files = [
    { path = "/etc/chinampa/controller.toml", content = local.settings },
    { path = "/etc/chinampa/certificates/region.pem", content = var.certificates },
    { path = "/etc/systemd/system/chinampa-controller.service", content = file("${path.module}/../../systemd/chinampa-controller.service") },
    { path = "/usr/local/sbin/chinampa-install", permissions = "0755", content = "#!/bin/sh -eux\n${var.controller_install}\n" },
  ]
  runcmd = [
    ["/usr/local/sbin/chinampa-install"],
    ["systemctl", "enable", "--now", "chinampa-controller.service"],
  ]
})}
  CLOUD
# Known before the machine is, and the same after it was replaced.
address = cidrhost(data.aws_subnet.controller.cidr_block, var.controller_host)
}

resource "aws_instance" "controller" {
  count                = var.controller_image == "" ? 0 : 1
  ami                  = var.controller_image
  instance_type        = var.controller_type
  iam_instance_profile = aws_iam_instance_profile.controller.name
  user_data            = local.user_data
  tags                 = local.tags
  volume_tags          = local.tags

  subnet_id              = local.controller_subnet
  private_ip             = local.address
  vpc_security_group_ids = compact([aws_security_group.controller.id, var.cluster_security_group])

  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "disabled"
  }

  root_block_device {
    encrypted   = true
    volume_size = 20
    volume_type = "gp3"
  }
}
