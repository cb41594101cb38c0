"""Which time zone a place lies in: offsets, zone names, cities of the zone database, names that it lacks."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

HERE = frozenset(
    {
        "",
        "here",
        "local",
        "now",
        "right now",
        "my place",
        "today",
        "这里",
        "这儿",
        "本地",
        "当地",
        "现在",
        "今天",
    }
)

_OFFSET = re.compile(r"(?:utc|gmt)?\s*([+-])\s*(\d{1,2})(?::?([0-5]\d))?")
_TAIL = re.compile(r"(?:\s+(?:time|city|right now|now)|市|时间|当地|那边|那里|现在)+$")
_NOT_PLACES = ("Etc/", "SystemV/", "posix/", "right/")

_NAMES = """
Asia/Shanghai: china, beijing, peking, shenzhen, guangzhou, hangzhou, chengdu, nanjing, wuhan, xi'an, xian,
  suzhou, tianjin, qingdao, dalian, xiamen, 中国, 北京, 上海, 深圳, 广州, 杭州, 成都, 南京, 武汉, 西安,
  苏州, 天津, 青岛, 大连, 厦门, 重庆, 郑州, 长沙, 合肥, 福州, 昆明, 沈阳, 哈尔滨, 长春, 济南, 宁波, 无锡,
  贵阳, 南宁, 海口, 三亚, 兰州, 太原, 石家庄, 南昌, 拉萨, cst
Asia/Urumqi: 乌鲁木齐
Asia/Hong_Kong: 香港
Asia/Macau: 澳门
Asia/Taipei: taiwan, 台湾, 台北
Asia/Tokyo: osaka, kyoto, nagoya, sapporo, 日本, 东京, 大阪, 京都, 名古屋, 札幌, jst
Asia/Seoul: south korea, korea, busan, 韩国, 首尔, 釜山, kst
Asia/Pyongyang: north korea, 朝鲜, 平壤
Asia/Singapore: 新加坡, 狮城
Asia/Kuala_Lumpur: malaysia, 马来西亚, 吉隆坡
Asia/Bangkok: thailand, phuket, 泰国, 曼谷, 普吉, 普吉岛
Asia/Ho_Chi_Minh: vietnam, hanoi, 越南, 河内, 胡志明
Asia/Manila: philippines, 菲律宾, 马尼拉
Asia/Jakarta: indonesia, 印度尼西亚, 印尼, 雅加达
Asia/Makassar: bali, denpasar, 巴厘岛
Asia/Phnom_Penh: cambodia, 柬埔寨, 金边
Asia/Yangon: myanmar, burma, 缅甸, 仰光
Asia/Kolkata: india, delhi, new delhi, mumbai, bombay, bangalore, bengaluru, chennai, hyderabad, pune, 印度,
  德里, 新德里, 孟买, 班加罗尔, 加尔各答, ist
Asia/Karachi: pakistan, islamabad, lahore, 巴基斯坦, 伊斯兰堡, 卡拉奇
Asia/Dhaka: bangladesh, 孟加拉国, 达卡
Asia/Kathmandu: nepal, 尼泊尔, 加德满都
Asia/Colombo: sri lanka, 斯里兰卡, 科伦坡
Asia/Almaty: kazakhstan, astana, 哈萨克斯坦, 阿拉木图
Asia/Tashkent: uzbekistan, 乌兹别克斯坦, 塔什干
Asia/Ulaanbaatar: mongolia, 蒙古, 乌兰巴托
Asia/Dubai: uae, united arab emirates, emirates, abu dhabi, 阿联酋, 迪拜, 阿布扎比
Asia/Riyadh: saudi arabia, jeddah, mecca, 沙特, 沙特阿拉伯, 利雅得
Asia/Qatar: doha, 卡塔尔, 多哈
Asia/Tehran: 伊朗, 德黑兰
Asia/Baghdad: iraq, 伊拉克, 巴格达
Asia/Jerusalem: tel aviv, 以色列, 耶路撒冷, 特拉维夫
Asia/Kabul: afghanistan, 阿富汗, 喀布尔
Europe/Istanbul: ankara, türkiye, turkiye, 土耳其, 伊斯坦布尔, 安卡拉
Europe/London: uk, england, britain, great britain, united kingdom, scotland, wales, edinburgh, manchester,
  birmingham, liverpool, oxford, cambridge, 英国, 伦敦, 英格兰, 爱丁堡, 曼彻斯特, bst
Europe/Dublin: ireland, 爱尔兰, 都柏林
Europe/Paris: france, lyon, marseille, nice, 法国, 巴黎, 里昂, 马赛
Europe/Berlin: germany, munich, hamburg, frankfurt, cologne, stuttgart, dusseldorf, 德国, 柏林, 慕尼黑,
  汉堡, 法兰克福, 科隆, cet
Europe/Amsterdam: netherlands, holland, rotterdam, the hague, 荷兰, 阿姆斯特丹, 鹿特丹
Europe/Brussels: belgium, 比利时, 布鲁塞尔
Europe/Zurich: switzerland, geneva, basel, bern, 瑞士, 苏黎世, 日内瓦
Europe/Vienna: austria, salzburg, 奥地利, 维也纳
Europe/Madrid: spain, barcelona, valencia, seville, 西班牙, 马德里, 巴塞罗那
Europe/Lisbon: porto, 葡萄牙, 里斯本
Europe/Rome: italy, milan, venice, florence, naples, turin, 意大利, 罗马, 米兰, 威尼斯, 佛罗伦萨
Europe/Athens: greece, 希腊, 雅典, eet
Europe/Stockholm: sweden, 瑞典, 斯德哥尔摩
Europe/Oslo: norway, bergen, 挪威, 奥斯陆
Europe/Copenhagen: denmark, 丹麦, 哥本哈根
Europe/Helsinki: finland, 芬兰, 赫尔辛基
Europe/Warsaw: krakow, 波兰, 华沙
Europe/Prague: czechia, czech republic, 捷克, 布拉格
Europe/Budapest: hungary, 匈牙利, 布达佩斯
Europe/Bucharest: romania, 罗马尼亚, 布加勒斯特
Europe/Sofia: bulgaria, 保加利亚, 索非亚
Europe/Belgrade: serbia, 塞尔维亚, 贝尔格莱德
Europe/Kyiv: ukraine, kiev, lviv, odesa, 乌克兰, 基辅
Europe/Moscow: russia, st petersburg, saint petersburg, 俄罗斯, 莫斯科, 圣彼得堡, msk
Atlantic/Reykjavik: 冰岛, 雷克雅未克
America/New_York: washington, washington dc, washington d.c., boston, miami, philadelphia, atlanta, nyc,
  orlando, new york city, 纽约, 华盛顿, 波士顿, 迈阿密, 费城, 亚特兰大, est, edt, et, eastern, us eastern
America/Chicago: houston, dallas, austin, texas, san antonio, new orleans, minneapolis, 芝加哥, 休斯顿,
  达拉斯, cdt, central
America/Denver: colorado, salt lake city, utah, 丹佛, 盐湖城, mst, mdt, mountain
America/Phoenix: arizona, 凤凰城
America/Los_Angeles: la, l.a., san francisco, seattle, san diego, san jose, silicon valley, california, las
  vegas, sf, 洛杉矶, 旧金山, 西雅图, 圣地亚哥市, 硅谷, 加州, 拉斯维加斯, pst, pdt, pt, pacific
America/Anchorage: alaska, 阿拉斯加
Pacific/Honolulu: hawaii, 夏威夷, 檀香山
America/Toronto: ottawa, montreal, quebec, 多伦多, 渥太华, 蒙特利尔
America/Vancouver: 温哥华
America/Edmonton: calgary, 卡尔加里, 埃德蒙顿
America/Mexico_City: mexico, 墨西哥, 墨西哥城
America/Sao_Paulo: rio, rio de janeiro, brasilia, 圣保罗, 里约, 里约热内卢, 巴西利亚
America/Argentina/Buenos_Aires: argentina, 阿根廷, 布宜诺斯艾利斯
America/Santiago: 智利, 圣地亚哥
America/Bogota: colombia, 哥伦比亚, 波哥大
America/Lima: peru, 秘鲁, 利马
America/Caracas: venezuela, 委内瑞拉, 加拉加斯
America/Havana: 古巴, 哈瓦那
Africa/Cairo: 埃及, 开罗
Africa/Johannesburg: south africa, cape town, pretoria, durban, 南非, 约翰内斯堡, 开普敦
Africa/Lagos: nigeria, abuja, 尼日利亚, 拉各斯
Africa/Nairobi: kenya, 肯尼亚, 内罗毕
Africa/Addis_Ababa: ethiopia, 埃塞俄比亚
Africa/Casablanca: morocco, rabat, marrakesh, 摩洛哥, 卡萨布兰卡
Africa/Algiers: algeria, 阿尔及利亚
Africa/Accra: ghana, 加纳
Australia/Sydney: canberra, 悉尼, 堪培拉, aest
Australia/Melbourne: 墨尔本
Australia/Brisbane: gold coast, 布里斯班, 黄金海岸
Australia/Perth: 珀斯
Australia/Adelaide: 阿德莱德
Pacific/Auckland: new zealand, wellington, christchurch, 新西兰, 奥克兰, 惠灵顿
Pacific/Fiji: 斐济
"""

_SEVERAL = {
    "america": "New York, Chicago, Denver, Los Angeles",
    "usa": "New York, Chicago, Denver, Los Angeles",
    "us": "New York, Chicago, Denver, Los Angeles",
    "united states": "New York, Chicago, Denver, Los Angeles",
    "美国": "纽约、芝加哥、丹佛、洛杉矶",
    "canada": "Toronto, Winnipeg, Edmonton, Vancouver",
    "加拿大": "多伦多、温哥华",
    "australia": "Sydney, Adelaide, Perth",
    "澳大利亚": "悉尼、阿德莱德、珀斯",
    "澳洲": "悉尼、阿德莱德、珀斯",
    "brazil": "São Paulo, Manaus",
    "巴西": "圣保罗",
}
"""Countries whose clocks differ too much for one answer, with cities to choose from."""


class SeveralZones(Exception):
    """The place spans zones; `cities` names some to choose from."""

    def __init__(self, cities: str) -> None:
        super().__init__(cities)
        self.cities = cities


def zone_of(place: str) -> tuple[str, tzinfo] | None:
    """The zone's name and rules; none where the place is not known. Raises `SeveralZones`."""
    name = _plain(place)
    readings = (name, _TAIL.sub("", name), name.removeprefix("the "), name.partition(",")[0].strip())
    for candidate in dict.fromkeys(readings):
        if found := _offset(candidate) or _named(candidate):
            return found
    return None


def zone_here(now: datetime) -> tuple[str, tzinfo]:
    """This machine's zone; by its name where the machine tells it, else by its offset."""
    here = now.astimezone().tzinfo or UTC
    _, found, name = str(Path("/etc/localtime").resolve()).partition("zoneinfo/")
    if found and name in _zones():
        zone = ZoneInfo(name)
        if zone.utcoffset(now.astimezone(zone)) == here.utcoffset(now.astimezone(here)):
            return name, zone
    return offset_name(now.astimezone(here)), here


def offset_name(moment: datetime) -> str:
    """UTC, UTC+9, UTC-3:30."""
    minutes = int((moment.utcoffset() or timedelta()).total_seconds()) // 60
    if not minutes:
        return "UTC"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'+' if minutes > 0 else '-'}{hours}" + (f":{rest:02}" if rest else "")


def _offset(name: str) -> tuple[str, tzinfo] | None:
    if name in ("utc", "gmt", "z", "zulu"):
        return "UTC", timezone(timedelta())
    found = _OFFSET.fullmatch(name)
    if not found:
        return None
    offset = timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
    if offset > timedelta(hours=14):
        return None
    zone = timezone(offset if found[1] == "+" else -offset)
    return offset_name(datetime.now(zone)), zone


def _named(name: str) -> tuple[str, tzinfo] | None:
    if name in _SEVERAL:
        raise SeveralZones(_SEVERAL[name])
    zone = _table().get(name)
    return (zone, ZoneInfo(zone)) if zone else None


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


@cache
def _table() -> dict[str, str]:
    """Every name that is known → its zone. Our own names win over the database's."""
    table: dict[str, str] = {}
    # "Asia/Singapore" before its old name "Singapore".
    for zone in sorted(_zones(), key=lambda name: ("/" not in name, name)):
        table.setdefault(_plain(zone), zone)
        if zone.startswith(_NOT_PLACES):
            continue
        table.setdefault(_plain(zone.rpartition("/")[2].replace("_", " ")), zone)
        table.setdefault(_plain(zone.replace("_", " ")), zone)
    for line in re.sub(r"\n  ", " ", _NAMES).strip().splitlines():
        zone, _, names = line.partition(":")
        table |= {_plain(name): zone for name in names.split(",")}
    return table


def _plain(text: str) -> str:
    """Lower case, without accents, spaces made one."""
    decomposed = unicodedata.normalize("NFKD", text.strip())
    bare = "".join(character for character in decomposed if not unicodedata.combining(character))
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", bare)).lower().strip(" .?!。？！")
