"""Texts that become markup, run, steer or fetch something, where a page shows them as they came."""

ATTACKS = [
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "'><svg/onload=document.title='owned'>",
    "</style><script>document.title='owned'</script>",
    "</title><body onload=document.title='owned'>",
    "javascript:document.title='owned'",
    "<a href=\"javascript:document.title='owned'\">x</a>",
    "<iframe srcdoc=\"<script>parent.document.title='owned'</script>\">",
    "&lt;script&gt;document.title='owned'&lt;/script&gt;",
    "]]><!--<script>document.title='owned'</script>-->",
    "\x1b[31m\u202egnp.exe\u2066 \x00 \ud83d\ude00 \ufeff<b>",
    "<base href=http://192.0.2.1/><link rel=stylesheet href=//192.0.2.1/x><meta http-equiv=refresh content=0>",
]
