"""An OPC UA server that has nothing to do with plantwin, played as hardware.

Usage: opcua_server.py PORT. Prints "ready", then "valve VALUE" whenever a client wrote the valve.
The level counts up by 0.5 every 200 ms, from 20 to 90 and again.
"""

import asyncio
import sys

from asyncua import Server, ua


async def main():
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{sys.argv[1]}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    ns = await server.register_namespace("urn:peer")
    folder = await server.nodes.objects.add_folder(ns, "rig")
    level = await folder.add_variable(ua.NodeId("rig.level", ns), "level", 20.0, ua.VariantType.Double)
    valve = await folder.add_variable(ua.NodeId("rig.valve", ns), "valve", 10.0, ua.VariantType.Float)
    await valve.set_writable()
    async with server:
        print("ready", flush=True)
        value, seen = 20.0, 10.0
        while True:
            value = value + 0.5 if value < 90 else 20.0
            await level.write_value(value)
            now = await valve.read_value()
            if now != seen:
                seen = now
                print(f"valve {now}", flush=True)
            await asyncio.sleep(0.2)


asyncio.run(main())
