# What a container may do whose pod asks for the runtime's default, in the language of apparmor.d(5).
#
# The second fence behind namespaces, capabilities and masked paths: files, the network and capabilities are left to
# those, and what would reach the machine itself is denied, though a mask were missing or a capability given.

profile chinampa-default flags=(attach_disconnected, mediate_deleted) {
  file,
  network,
  capability,
  umount,

  # The agent and the OCI runtime end containers; some systems have profiles for the latter.
  signal (receive) peer=unconfined,
  signal (receive) peer=crun,
  signal (receive) peer=runc,

  # Containers of this profile are kept from each other by their process namespaces; of one pod they may share one.
  # Where the OCI runtime has a profile and the pod allows no new privileges, the two are stacked: that is a peer's name, too.
  signal (send, receive) peer=chinampa-default,
  signal (send, receive) peer=chinampa-default//&**,
  ptrace (trace, read, tracedby, readby) peer=chinampa-default,
  ptrace (trace, read, tracedby, readby) peer=chinampa-default//&**,

  # A mount could put a file under a name that is allowed.
  deny mount,
  deny pivot_root,

  # The machine's memory, and keys to have the kernel do something at once.
  deny /proc/kcore rwklx,
  deny /proc/{kmem,mem} rwklx,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/{acpi,scsi}/** rwklx,
  deny /proc/{bus,fs,irq}/** wklx,

  # Settings of the whole machine. Of its own a container has those of the network, shared memory and queues.
  deny /proc/sys/{abi,debug,dev,vm}/** wklx,
  deny /proc/sys/fs/{[^m]*,m[^q]*}{,/**} wklx,
  deny /proc/sys/kernel/{[^sm]*,s[^eh]*,se[^m]*,sh[^m]*,m[^s]*}{,/**} wklx,

  # Devices, firmware and the kernel's security; control groups are the container's own.
  deny /sys/firmware/** rwklx,
  deny /sys/kernel/security/** rwklx,
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
}
