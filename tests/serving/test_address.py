import asyncio
import socket

from vlad.serving.address import listen


def test_replies_are_not_held_back_until_earlier_ones_are_acknowledged():
    async def connected() -> int:
        found = asyncio.get_running_loop().create_future()

        def accepted(reader, writer):
            own = writer.get_extra_info("socket")
            found.set_result(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with listen("127.0.0.1", 0) as opened:
            async with await asyncio.start_server(accepted, sock=opened):
                _, writer = await asyncio.open_connection(*opened.getsockname())
                writer.close()
                return await asyncio.wait_for(found, 20)

    assert asyncio.run(connected())
