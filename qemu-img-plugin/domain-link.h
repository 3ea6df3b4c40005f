/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of what is behind --domain. */
#pragma once

#include "common/core/domain.h"
#include "qemu-img-plugin/libvirt/driver.h"

struct SnapsetDomainLink {
    const SnapsetVirtDriver *driver;
    SnapsetVirtDomain *domain;
    SnapsetDomain *disks; /* as last read; in the order of the set's images */
};
