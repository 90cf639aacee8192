"""An OPC UA server that has nothing to do with plantwin, as the hardware of a test.

Usage: peer_server.py PORT [count]. Prints "ready", then "written NODE VALUE" for each value that a
client wrote and, with `count`, "subscriptions N" whenever their number changes. `level` counts up
by 0.5 every 20 ms, and so does its source time.
"""

import asyncio
import sys
from datetime import datetime, timezone

from asyncua import Server, ua


async def main():
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{sys.argv[1]}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    ns = await server.register_namespace("urn:peer")
    folder = await server.nodes.objects.add_folder(ns, "rig")

    async def add(name, value, kind):
        node = await folder.add_variable(ua.NodeId(name, ns), name, value, kind)
        await node.set_writable()
        return node

    level = await add("rig.level", 0.0, ua.VariantType.Double)
    doubtful = await add("rig.doubtful", 1.5, ua.VariantType.Float)
    await add("rig.label", "a word", ua.VariantType.String)
    valve = await add("rig.valve", 1, ua.VariantType.Int16)
    pump = await add("rig.pump", False, ua.VariantType.Boolean)
    await doubtful.write_value(
        ua.DataValue(
            ua.Variant(1.5, ua.VariantType.Float),
            StatusCode=ua.StatusCode(ua.StatusCodes.UncertainSensorNotAccurate),
        )
    )
    seen = {"rig.valve": 1, "rig.pump": False}
    async with server:
        print("ready", flush=True)
        value = 0.0
        counted = 0
        while True:
            subscriptions = len(server.iserver.subscription_service.subscriptions)
            if subscriptions != counted and "count" in sys.argv[2:]:
                counted = subscriptions
                print(f"subscriptions {counted}", flush=True)
            value += 0.5
            now = datetime.now(timezone.utc)
            measured = ua.Variant(value, ua.VariantType.Double)
            await level.write_value(ua.DataValue(measured, SourceTimestamp=now))
            for name, node in (("rig.valve", valve), ("rig.pump", pump)):
                now = await node.read_value()
                if now != seen[name]:
                    seen[name] = now
                    print(f"written {name} {now}", flush=True)
            await asyncio.sleep(0.02)


asyncio.run(main())
