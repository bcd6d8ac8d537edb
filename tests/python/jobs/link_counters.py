"""What the kernel counts of a host's link to others."""

#: Without its heads, over Ethernet.
SEGMENT_BYTES = 1448


def resent_bytes(snmp: str) -> int:
    """What TCP has sent more than once, of what /proc/net/snmp says on that host.

    A rank that the machine keeps waiting is one whose kernel does not acknowledge in time, either.
    """
    names, values = (line.split() for line in snmp.splitlines() if line.startswith("Tcp:"))
    counted = dict(zip(names[1:], map(int, values[1:]), strict=True))
    return counted["RetransSegs"] * SEGMENT_BYTES
