/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* VLAN tags that are still in the packet. The kernel keeps the outermost one beside it (skb->vlan_tci), so these are inner ones
 * (802.1ad), and those of a device that writes its tag itself.
 */
#ifndef TRILOBITE_FLOW_VLAN_H
#define TRILOBITE_FLOW_VLAN_H

#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#define VLAN_TAGS_MAX 2

struct vlan_tag {
	__u16 control;
	__u16 protocol;         /* of what is behind it */
};

static __always_inline bool is_vlan(__u32 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

/* Returns the bytes that tags take behind the link header, where the network header then still points; `protocol` becomes that of
 * what is behind them.
 */
static __always_inline __u32 skip_tags(struct __sk_buff *skb, __u32 *protocol)
{
	__u32 bytes = 0;

	for (int i = 0; i < VLAN_TAGS_MAX && is_vlan(*protocol); i++) {
		struct vlan_tag tag;

		if (bpf_skb_load_bytes_relative(skb, bytes, &tag, sizeof(tag), BPF_HDR_START_NET))
			break;
		*protocol = tag.protocol;
		bytes += sizeof(tag);
	}
	return bytes;
}

#endif
