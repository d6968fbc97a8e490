"""placeholder"""

from __future__ import annotations

from whenced.hash_messages import CodeReply, CodeRequest


class CodeReader:
    def read(self, request: CodeRequest) -> CodeReply:
        return CodeReply(request.ticket)
