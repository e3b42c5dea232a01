; Static records of app.com. SOA and NS come from the configuration, and so do the addresses of
; Pool, Group and Site Names; ns1 gets the front's addresses because it has none here.
$ORIGIN app.com.
$TTL 3600

@     IN  MX    10 mail
@     IN  TXT   "v=spf1 mx -all"
mail  IN  A     192.0.2.25
mail  IN  AAAA  2001:db8:1::25
www   IN  CNAME app.com.
