/**
 * Where nodes that Karpenter starts with `instanceStorePolicy: RAID0` have their local disks, by AMI family.
 *
 * Source: awslabs/amazon-eks-ami at 81fec2e8, templates/al2023/runtime/bin/setup-local-disks (the array is mounted at
 * /mnt/k8s-disks/0; the folders of kubelet and containerd are bind-mounted from it, nothing else of use here);
 * aws/karpenter-provider-aws at 1d92708, pkg/providers/amifamily/bootstrap/bottlerocket.go (the same two folders, and no
 * place of its own that a pod may use).
 */

const ARRAY = '/mnt/k8s-disks/0';
const BOUND = '/var/lib/kubelet';

/** Every folder that is on the local disks with one image or another. */
export const ALL_MOUNTS: readonly string[] = [ARRAY, BOUND];

/** Folders on the local disks of nodes with this AMI alias; without one, of the default image. */
export function mountsOf(amiAlias: string | undefined): readonly string[] {
  return amiAlias?.startsWith('bottlerocket@') === true ? [BOUND] : ALL_MOUNTS;
}
