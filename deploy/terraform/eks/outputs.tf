output "cluster" {
  description = "For `aws eks update-kubeconfig --name`."
  value       = aws_eks_cluster.here.name
}

output "settings" {
  description = "The controller's config file."
  value       = module.controller.settings
}

output "address" {
  description = "Where cells dial."
  value       = module.controller.address
}

output "user_data" {
  description = "What the worker's machine runs at its first boot."
  value       = module.controller.user_data
}
