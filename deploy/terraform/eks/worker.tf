# The worker: the controller's machine, with a kubelet that `chinampa worker init` sets up.

data "aws_region" "here" {}

locals {
  network = aws_eks_cluster.here.kubernetes_network_config[0].service_ipv4_cidr
  worker  = <<-TOML
    [shim]
    socket = "/run/chinampa/shim.sock"

    [kubernetes]
    kubeconfig = "/etc/chinampa/node.kubeconfig"

    [worker]
    kubelet = "/usr/local/bin/kubelet"
    client_ca = "/etc/chinampa/cluster-ca.crt"
    dns = ["${cidrhost(local.network, 10)}"]
    eks = true
    ${var.worker_settings}

    ${var.settings}
  TOML
  kubeconfig = yamlencode({
    apiVersion      = "v1"
    kind            = "Config"
    current-context = "worker"
    clusters = [{ name = "cluster", cluster = {
      server                     = aws_eks_cluster.here.endpoint
      certificate-authority-data = aws_eks_cluster.here.certificate_authority[0].data
    } }]
    contexts = [{ name = "worker", context = { cluster = "cluster", user = "worker" } }]
    users = [{ name = "worker", user = { exec = {
      apiVersion = "client.authentication.k8s.io/v1"
      command    = "/usr/local/bin/aws-iam-authenticator"
      args       = ["token", "--cluster-id", var.cluster, "--region", data.aws_region.here.name]
    } } }]
  })
  # A node of EKS is called as its instance in the VPC's DNS, which the metadata service tells.
  install = <<-SHELL
    ${var.worker_install}
    umask 077
    cat > /etc/chinampa/node.kubeconfig <<'KUBECONFIG'
    ${local.kubeconfig}
    KUBECONFIG
    echo '${aws_eks_cluster.here.certificate_authority[0].data}' | base64 -d > /etc/chinampa/cluster-ca.crt
    umask 022
    token=$(curl -sS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)
    name=$(curl -sS -H "X-aws-ec2-metadata-token: $token" http://169.254.169.254/latest/meta-data/local-hostname)
    sed -i "s/^\[kubernetes\]/&\nnode = \"$${name%% *}\"/" /etc/chinampa/controller.toml
    /usr/local/bin/chinampa worker init
    systemctl daemon-reload
    systemctl enable --now chinampa-kubelet.service
  SHELL
}

module "controller" {
  source = "../controller"

  cluster                = var.cluster
  vpc_id                 = var.vpc_id
  subnet_ids             = var.subnet_ids
  controller_subnet_id   = var.worker_subnet_id
  controller_image       = var.worker_image
  controller_type        = var.worker_type
  controller_install     = local.install
  cell_image_amd64       = var.cell_image_amd64
  cell_image_arm64       = var.cell_image_arm64
  certificates           = var.certificates
  cluster_security_group = aws_eks_cluster.here.vpc_config[0].cluster_security_group_id
  nat                    = var.nat
  settings               = local.worker
  tags                   = var.tags
}

# What a node of EKS may ask of AWS beside that: which cluster it is of, and images of EKS' add-ons.
resource "aws_iam_role_policy_attachment" "worker" {
  for_each   = toset(["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryReadOnly"])
  role       = module.controller.role_name
  policy_arn = "${local.arn}:iam::aws:policy/${each.value}"
}
