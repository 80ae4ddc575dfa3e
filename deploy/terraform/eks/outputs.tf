output "cluster" {
  description = "For `aws eks update-kubeconfig --name`."
  value       = aws_eks_cluster.here.name
}

output "security_group" {
  description = "Group of the cluster: `cluster_security_group` of the controller's module."
  value       = aws_eks_cluster.here.vpc_config[0].cluster_security_group_id
}

output "settings" {
  description = "Tables of the worker: `settings` of the controller's module, with others of your own behind them."
  value       = local.worker
}

output "install" {
  description = "What makes the machine the worker: `controller_install` of the controller's module, behind your own lines."
  value       = local.install
}
