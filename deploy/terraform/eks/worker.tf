# What makes the controller's machine the worker: settings, and a kubelet that `chinampa worker init` sets up.

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

# What a node of EKS may ask of AWS beside that: which cluster it is of, and images of EKS' add-ons.
resource "aws_iam_role_policy_attachment" "worker" {
  for_each   = toset(["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryReadOnly"])
  role       = var.worker_role.name
  policy_arn = "${local.arn}:iam::aws:policy/${each.value}"
}
