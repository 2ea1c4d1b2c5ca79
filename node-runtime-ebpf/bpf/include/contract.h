/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* All that the kernel side and the agent share. bindgen makes the agent's types of it, so that these headers contain types
 * of a fixed width and no padding that is not named. */
#ifndef TRILOBITE_CONTRACT_H
#define TRILOBITE_CONTRACT_H

#include <linux/types.h>
#include <linux/bpf.h>

#include "limits.h"
#include "record.h"
#include "cgroup.h"
#include "process.h"
#include "../security/hook.h"
#include "flow.h"
#include "packet_drop.h"
#include "dns.h"
#include "sample.h"
#include "payload.h"
#include "tls.h"

#endif
